# For labels of your own on a GPU (configs/your_data/*_gpu.py): ResNet-50.
_base_ = ['models/oneformer_r50.py', 'your_data_gpu.py']
model = dict(metainfo=dict(), test_cfg=dict(object_mask_thr=0.5))  # the names are the config's
