# Swin-L on COCO for GPUs that cannot hold copies of weights, gradients and optimizer states: each
# keeps a part (torch's fully_shard), and fetches a Swin block's parameters just for its turn.
#
#   tools/dist_train.sh configs/sharded/oneformer_swin-l_coco.py 8
#
# The strategy is tested on two CPU processes. This config was built, but has not been run on a GPU.
_base_ = '../oneformer_swin-l_coco.py'
runner_type = 'FlexibleRunner'
strategy = dict(type='FullyShardStrategy', units=['SwinBlock'])
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',  # with the range of float32, so that no process has to skip a step
    loss_scale=dict(enabled=False),
)
