"""What the import leaves out, for parts of the stack that few use, comes with their first use."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys
sys.path.insert(0, 'projects')
import oneformer
late = ('transformers', 'imgaug', 'imagecorruptions', 'numba', 'matplotlib', 'torchvision')
late += ('prettytable',)
facts = dict(at_start=[name for name in late if name in sys.modules])
import numpy, torch, mmengine.optim
from mmdet.structures import DetDataSample
from mmengine.structures import PixelData
from oneformer.visualization import paint_prediction
image = numpy.full((40, 40, 3), 100, numpy.uint8)
seen = DetDataSample(pred_sem_seg=PixelData(sem_seg=torch.ones(1, 40, 40, dtype=torch.long)))
painted = paint_prediction(image, seen, 'semantic', dict(classes=('sky', 'cat')))
facts['painted'] = (painted != image).any() and 'matplotlib' not in sys.modules
from mmdet.models.language_models import bert
from mmdet.registry import TRANSFORMS
linear = torch.nn.Linear(2, 2)
optimizer = dict(type='Adafactor', lr=1e-3, relative_step=False)
wrapper = mmengine.optim.build_optim_wrapper(linear, dict(type='OptimWrapper', optimizer=optimizer))
if corrupt := TRANSFORMS.get('Corrupt'):  # OneDL's has none
    facts['corrupted'] = corrupt('brightness')(dict(img=image))['img'].mean() > 100
from mmdet.utils.mot_error_visualize import imshow_mot_errors
boxes = numpy.array([[4, 4, 20, 20, 0.9]])
errors = dict(bboxes=boxes, ids=numpy.ones(1), error_types=numpy.zeros(1, int))
drawn = imshow_mot_errors(image, **errors, show=False, backend='cv2')
facts['drawn'] = drawn is not None and 'matplotlib.pyplot' in sys.modules
from mmpretrain.evaluation.metrics.visual_grounding_eval import aligned_box_iou
facts['overlap'] = aligned_box_iou(*torch.tensor([[[0, 0, 2, 2]], [[0, 0, 2, 1]]])).item() == 0.5
from mmseg.evaluation.metrics.iou_metric import PrettyTable
facts['table'] = 'column' in str(PrettyTable(['column']))
import transformers
facts['optimizer'] = type(wrapper.optimizer) is transformers.Adafactor
config = bert.BertConfig(hidden_size=8)
facts['config'] = type(config) is transformers.BertConfig and config.hidden_size == 8
if 'mmdet.datasets.transforms.generate_line' in sys.modules:  # OneDL's
    from mmdet.datasets.transforms.generate_line import ImageAug
    flip = dict(name='HorizontalFlip', parameters=dict(p=1.0), p=1.0)
    resize = dict(name='Resize', parameters=dict(size=dict(height=4, width=8)), p=1.0)
    pipeline = ImageAug([resize, flip]).pipeline
    import imgaug.augmenters
    is_own = type(pipeline) is imgaug.augmenters.Sequential
    facts['lanes'] = is_own and pipeline(image=image).shape == (4, 8, 3)
print(json.dumps(facts, default=bool))
"""


def test_what_is_postponed_comes_when_it_is_used(root_dir):
    pytest.importorskip('transformers', reason='the peer is installed by requirements/tests.txt')
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT], cwd=root_dir, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts.pop('at_start') == []
    assert len(facts) == 7 and all(facts.values()), facts
