"""Questions about photographs that need knowledge: A-OKVQA and OK-VQA, from the hub.

`a-okvqa` (Schwenk et al. 2022): 17,056 training and 1,145 validation questions; the right one of
four choices is the answer, and the test split's are secret. From `HuggingFaceM4/A-OKVQA`.
`ok-vqa` (Marino et al. 2019): 9,009 training questions, 5,046 in `test`, which is the official
validation split; one person's answer. JAT's copy, because the hub's other ones are scripts or lack
the training split. Pictures are COCO's; the first time needs a network.
"""

from mugato.data.formats.hub_place import locate
from mugato.data.formats.hub_rows import open_rows
from mugato.data.formats.huggingface import HubQuestions, QuestionColumns
from mugato.data.source import check_split

A_OKVQA = QuestionColumns(
    image="image", question="question", answer="choices", choice="correct_choice_idx"
)
OK_VQA = QuestionColumns(image="images", text="text")


def open_a_okvqa(
    split: str,
    *,
    where: str = "HuggingFaceM4/A-OKVQA",
    size_px: int = 128,
    rows: int | None = None,
) -> HubQuestions:
    """Open a split; `where` may be a copy on this machine. Raises as `open_rows`."""
    check_split("a-okvqa", split, ("train", "validation"))
    opened = open_rows(locate(where), split, rows=rows).of(*A_OKVQA.names)
    return HubQuestions(name="a-okvqa", rows=opened, columns=A_OKVQA, size_px=size_px)


def open_ok_vqa(
    split: str,
    *,
    where: str = "jat-project/jat-dataset/ok-vqa",
    size_px: int = 128,
    rows: int | None = None,
) -> HubQuestions:
    """Open a split; `where` may be a copy on this machine. Raises as `open_rows`."""
    check_split("ok-vqa", split, ("train", "test"))
    opened = open_rows(locate(where), split, rows=rows).of(*OK_VQA.names)
    return HubQuestions(name="ok-vqa", rows=opened, columns=OK_VQA, size_px=size_px)
