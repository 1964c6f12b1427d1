"""The step train_transformer: token store -> Stage II."""
