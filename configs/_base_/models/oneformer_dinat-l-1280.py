# Wider dilations, for crops of 1280 pixels.
_base_ = 'oneformer_dinat-l.py'
model = dict(
    backbone=dict(
        dilations=[
            [1, 28, 1],
            [1, 7, 1, 14],
            [1, 3, 1, 5, 1, 5, 1, 7, 1, 3, 1, 5, 1, 5, 1, 7, 1, 7],
            [1, 3, 1, 3, 1],
        ],
    ),
)
