"""What a training will take, told before it starts: parameters, tokens, memory, time, disk (`moso plan`)."""
