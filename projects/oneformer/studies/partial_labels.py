"""The quick start's images in three thirds, each with labels of one kind."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from ..host.safe_io import write_json
from ..run_length import code_area, encode_mask, json_code


def split_labels(folder: Path, label_classes: list[str]) -> None:
    """Write the three thirds of a generated dataset beside its panoptic labels.

    Image i has labels of kind i modulo 3: ``panoptic_third.json``; ``instance_third.json`` (things,
    run-length coded); ``semantic_third.txt`` (names) and ``semantic_train/``, label PNGs in which
    255 is void and everything that is not among the classes.

    Args:
        folder: Folder of the dataset, as ``oneformer demo-data`` writes it.
        label_classes: Names of the classes in the label PNGs, in the order of their values.
    """
    content = json.loads((folder / 'panoptic_train.json').read_text())
    thirds = [{a['image_id'] for a in content['annotations'][i::3]} for i in range(3)]
    category_of = {c['id']: c for c in content['categories']}

    def of_third(i: int) -> dict:
        return dict(
            images=[image for image in content['images'] if image['id'] in thirds[i]],
            annotations=[a for a in content['annotations'] if a['image_id'] in thirds[i]],
            categories=content['categories'],
        )

    def id_map(annotation: dict) -> np.ndarray:
        png = np.array(Image.open(folder / 'panoptic_train' / annotation['file_name']), np.int32)
        return png @ np.array([1, 256, 65536], np.int32)

    write_json(folder / 'panoptic_third.json', of_third(0))

    instances = of_third(1)
    records = []
    for annotation in instances['annotations']:
        ids = id_map(annotation)
        for segment in annotation['segments_info']:
            if not category_of[segment['category_id']]['isthing']:
                continue
            code = encode_mask(ids == segment['id'])
            records.append(
                dict(
                    id=len(records) + 1,
                    image_id=annotation['image_id'],
                    category_id=segment['category_id'],
                    iscrowd=segment['iscrowd'],
                    area=code_area(code),
                    segmentation=json_code(code),
                )
            )
    instances['annotations'] = records
    instances['categories'] = [c for c in content['categories'] if c['isthing']]
    write_json(folder / 'instance_third.json', instances)

    semantic = of_third(2)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        pngs = Path(temporary) / 'pngs'
        pngs.mkdir()
        for annotation in semantic['annotations']:
            ids = id_map(annotation)
            labels = np.full(ids.shape, 255, np.uint8)
            for segment in annotation['segments_info']:
                name = category_of[segment['category_id']]['name']
                if name in label_classes:
                    labels[ids == segment['id']] = label_classes.index(name)
            Image.fromarray(labels).save(pngs / annotation['file_name'])
        shutil.rmtree(folder / 'semantic_train', ignore_errors=True)
        pngs.rename(folder / 'semantic_train')
    names = [Path(annotation['file_name']).stem for annotation in semantic['annotations']]
    (folder / 'semantic_third.txt').write_text('\n'.join(names) + '\n')
