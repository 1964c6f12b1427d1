"""The place of the video and image discriminators (Sec. C.4, Table 10): a PatchGAN over a clip's frames stacked
along channels, and one a frame.

Neither is built yet. Each will be a module with its own optimizer, trained in turn with the VQVAE from a set step
on; losses.py says where the generator's side joins.
"""
