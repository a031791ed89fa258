"""Name the image that a panoptic PNG seems to belong to, if its ids are not those of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..datasets.base import SegmentDataset
from ..datasets.findings import Finding
from ..datasets.label_images import SEARCHED, UNLISTED_ID
from ..images.image_files import read_file
from ..images.reading import decode_image

_SEARCHES = 5  # per dataset, since each looks through all its images


def _ids(path: str) -> set[int]:
    """Ids in a panoptic PNG, without void."""
    png = decode_image(read_file(path, 'panoptic PNG'), path, 'panoptic PNG')
    return set(np.unique(png.reshape(-1, 3) @ np.array([65536, 256, 1])).tolist()) - {0}


def _owner(ids: set[int], path: str, dataset: SegmentDataset) -> Mapping | None:
    """The first other sample that lists all the ids."""
    for index in range(len(dataset)):
        sample = dataset.get_data_info(index)
        listed = {segment['id'] for segment in sample['segments_info']}
        if sample['seg_map_path'] != path and ids <= listed | set(sample['void_ids']):
            return sample
    return None


def name_owners(found: Sequence, dataset: SegmentDataset) -> list:
    """The findings, with the first PNGs of unlisted ids explained by the images that list them."""
    named, searches = [], 0
    for finding in found:
        if isinstance(finding, Finding) and finding.kind == UNLISTED_ID:
            text = ''
            if SEARCHED in finding.message and searches < _SEARCHES:
                searches += 1
                owner = _owner(_ids(finding.file), finding.file, dataset)
                if owner is not None:
                    text = (
                        f' All its ids are those of image id {owner["img_id"]} '
                        f'({owner["img_path"]}), whose PNG it seems to be'
                    )
            finding = replace(finding, message=finding.message.replace(SEARCHED, text))
        named.append(finding)
    return named
