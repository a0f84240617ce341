"""Films.

`animation` has the functions, `reel` the pixels of each frame, `insets` the distance in its head;
`output` writes frames by `gif` or `mp4`.
"""
