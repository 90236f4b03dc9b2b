"""Published models, imported as ours (Yang & Mandt, ICCV 2023).

- `training_folder`: reads the folder that a published training leaves: configuration and TensorFlow checkpoint
- `arrays`: matches the published weights to our layers
"""
