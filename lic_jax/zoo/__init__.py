"""The model zoo: the models that ship, and what their files hold.

- `receiver_file`: makes the one file that the C decoder reads of a model
- `shipped`: finds a model's file by its name
- `bundle`: reads and writes a codec's model: configuration, weights and quantizers
- `weights`: reads and writes trees of weights as safetensors, with a digest
- `quantizer_arrays`: turns the quantizers of all rates into arrays, and back
- `published`: imports published models as ours
"""
