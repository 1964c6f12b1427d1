#!/bin/sh
# Ask a service (`moso serve MODEL`) with curl:  sh examples/client.sh ADDRESS FRAMES.npy CLIP.mp4 FOLDER
#   FRAMES.npy  uint8 (N, K, H, W, 3), the given frames, such as reports/example.npy
#   CLIP.mp4    a video with at least as many frames as a clip has
#   FOLDER      answers are written there
set -eu
address=$1 frames=$2 clip=$3 folder=$4
mkdir -p "$folder"
ask() { curl --silent --show-error --fail-with-body --retry 5 --retry-max-time 60 "$@"; }

# Which model serves?
ask "$address/v1/model" --output "$folder/model.json"

# An array in, an array out.
ask "$address/v1/predict?seed=3&steps=4" --data-binary "@$frames" -H 'Content-Type: application/x-npy' \
  --output "$folder/prediction.npy"

# A video in, a video out, another size brought to the model's.
ask "$address/v1/rollout" -F "clip=@$clip" -F length=20 -F resize=true -F format=mp4 --output "$folder/rollout.mp4"

# What each component draws, as a picture.
ask "$address/v1/decompose" -F "clip=@$clip" -F resize=true -F format=png --output "$folder/parts.png"

# The scene of one, object and motion of another.
ask "$address/v1/recombine" -F "scene=@$clip" -F "object=@$clip" -F "motion=@$clip" -F start=0 -F resize=true \
  -F format=gif --output "$folder/new.gif"

# Tokens, and back.
ask "$address/v1/encode" -F "clip=@$clip" -F resize=true -F format=safetensors --output "$folder/clip.safetensors"
ask "$address/v1/decode" -F "tokens=@$folder/clip.safetensors" -F format=mp4 --output "$folder/decoded.mp4"
