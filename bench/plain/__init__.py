"""The method as research code writes it: small, readable, slow. For `bench.models` and its tests alone.

It takes the weights of our models (weights.py) and gives the same tokens and, but for rounding, the same numbers;
tests/bench/test_plain.py shows it. What makes it plain, where moso does otherwise:

- a one-hot matrix (P, N) and all distances (P, N) at once in the quantiser, three EMA updates a step, one a component;
- scene and object repeated over the T frames before the decoder's first layer, concatenated with the motion and mixed
  anew for each frame; convolutions in torch's default memory layout;
- attention written out: the softmax of q k^T stands in memory;
- logits of every motion position at every step of training and of sampling;
- TransformerG asked anew at every step of sampling;
- SSIM by five depthwise convolutions.

It knows what the paper's presets have and nothing else: no ablation, no deviation, one worker.
"""
