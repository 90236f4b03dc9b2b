"""The codec: images to streams and back.

- `codec`: compresses and decompresses images; what senders load, in JAX
- `decoder`: decompresses one stream at a time, in NumPy alone: the specification that can be read
- `native_decoder`: the same in C, many times faster
- `loading`: loads one of the two; what receivers load
- `encoder`: analyses images, quantizes their latents in one shot, and packs streams
- `searcher`: improves the symbols of an image, and checks the result on real files
- `batch_decoder`: decompresses many streams at once, in JAX
- `programs`: compiles a model's transforms for images of every size
- `symbols`: codes symbols into a stream's segments, and reads them back; both sides share it
"""
