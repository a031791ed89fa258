"""Pack a sample for the model and the metrics."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData

from .overlaps import topmost_map

META_KEYS = (
    'img_id',
    'img_path',
    'image_rules',
    'image_name',
    'image_stem',
    'ori_shape',
    'img_shape',
    'scale_factor',
    'flip',
    'flip_direction',
    'task',
    'texts',
    'filler',
    'known_labels',
    'searched_labels',
    'ignore',
    'segments_info',
)


@TRANSFORMS.register_module()
class PackSegmentInputs(BaseTransform):
    """Turn a sample into ``inputs`` and a ``DetDataSample``.

    After ``SampleTask`` the sample holds the targets of one task: ``gt_instances.labels`` (N,) and
    ``gt_target_map.sem_seg`` (1, H, W), in which k is target k - 1, 0 is background and -1 is
    unknown. Where targets overlap, k is a region, and ``gt_instances.regions`` (N, R), bool, says
    which of them each target consists of. Without ``SampleTask``, for evaluation, it holds
    ``gt_panoptic_seg.sem_seg`` (1, H, W), in which k is ``segments_info[k - 1]`` of the metainfo,
    the topmost where objects overlap, and 0 is void.
    """

    def transform(self, results: dict) -> dict:
        """Pack; ValueError for whole numbers of more than 8 bits, whose range nothing tells."""
        dtype = results['img'].dtype
        if dtype != np.uint8 and dtype.kind != 'f':
            raise ValueError(
                f'image {results.get("img_path", "")} reaches the model as numbers of {dtype}: '
                'load it by LoadPhoto, or hand over uint8'
            )
        sample = DetDataSample(metainfo={key: results[key] for key in META_KEYS if key in results})
        if 'gt_labels' in results:
            sample.gt_instances = InstanceData(labels=torch.from_numpy(results['gt_labels']))
        if 'gt_regions' in results:
            sample.gt_instances.regions = torch.from_numpy(results['gt_regions'])
        if 'gt_seg_map' in results:
            seg_map = topmost_map(results['gt_seg_map'], results.get('region_segments'))
            seg_map = torch.from_numpy(np.ascontiguousarray(seg_map))
            name = 'gt_target_map' if 'gt_labels' in results else 'gt_panoptic_seg'
            setattr(sample, name, PixelData(sem_seg=seg_map[None]))
        image = np.ascontiguousarray(results['img'].transpose(2, 0, 1))
        return dict(inputs=torch.from_numpy(image), data_samples=sample)
