"""Evaluation: figures of a model under a stated protocol, beside those of baselines on the same clips.

metrics (PSNR, SSIM) and statistics (bootstrap over episodes) are pure; protocol says what was measured; comparison runs
a model and the baselines over the clips; report draws the page.
"""
