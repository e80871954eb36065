"""Values to tokens and back: vocabulary, tokenizers, sequences, batches (Reed et al. 2022, §2.1).

Start at `tokenizer.py`, which puts one tokenizer per modality under one vocabulary (`vocab.py`);
then `timesteps.py`, `sequence.py` and `batch.py` in the order in which an episode goes through
them. This room knows specs and arrays. It does not know where an episode comes from or which
model reads the batch.
"""
