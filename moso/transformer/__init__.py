"""Stage II, MOSO-Transformer (Sec. 3.2): predicts the tokens of a clip from those of its pseudo clip.

TransformerSO (Eq. 11) predicts scene and object tokens, TransformerG (its weights) turns them into one guidance
embedding a frame, TransformerM (Eq. 13) fills in the motion tokens step by step. It reads only the token store.
"""
