"""The step train_vqvae: frame cache -> Stage I."""
