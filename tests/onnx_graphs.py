"""Small graphs of the signature of exported models, made by hand: the exporter is not needed."""

from dataclasses import dataclass, replace

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

from oneformer.models.oneformer_head import BatchOutputs
from oneformer.tasks import TASKS
from oneformer_runtime.model_json import write_description


def save_graph(folder, nodes, tensors, outputs, sizes=('B', 'H', 'W')):
    """Write ``model.onnx``.

    Args:
        folder: Its folder.
        nodes: Nodes, from ``image`` and ``tasks`` to ``class_logits`` and ``mask_logits``.
        tensors: Arrays by their names.
        outputs: Shapes of the two outputs.
        sizes: Batch, height and width of the input; names are open.
    """
    batch, height, width = sizes
    graph = helper.make_graph(
        nodes,
        'small',
        [
            helper.make_tensor_value_info('image', TensorProto.FLOAT, [batch, 3, height, width]),
            helper.make_tensor_value_info('tasks', TensorProto.INT64, [batch, 'T']),
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in zip(('class_logits', 'mask_logits'), outputs)
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / 'model.onnx')


@dataclass
class Linear:
    """A network that computes logits from the image and the task, in torch and in ONNX.

    Masks are a linear function of the mean colour of 4 x 4 pixels, with a constant of task and
    query; class logits depend on task and query, and a little on the image.
    """

    classes: np.ndarray  # (3, Q, K + 1)
    colours: np.ndarray  # (Q, 3)
    constants: np.ndarray  # (3, Q)
    mean: float = 127.0
    std: float = 128.0

    @classmethod
    def random(cls, num_classes, num_queries, seed=0):
        """Queries that are sure, of different classes in each task."""
        rng = np.random.default_rng(seed)
        classes = rng.normal(size=(3, num_queries, num_classes + 1))
        labels = rng.integers(0, num_classes + 1, (3, num_queries))
        np.put_along_axis(classes, labels[..., None], 6.0, 2)
        parts = classes, 9 * rng.normal(size=(num_queries, 3)), rng.normal(size=(3, num_queries))
        return cls(*(part.astype(np.float32) for part in parts))

    def in_torch(self, images, tasks):
        """``OneFormer.run_network`` of normalised images (B, 3, H, W)."""
        numbers = [TASKS.index(task) for task in tasks]
        pooled = F.avg_pool2d(images, 4)
        level = 0.1 * pooled.mean((1, 2, 3))
        scores = torch.from_numpy(self.classes[numbers]) + level[:, None, None, None]
        scores = torch.cat([scores[..., :-1], scores[..., -1:] - level[:, None, None, None]], -1)
        colours = torch.from_numpy(self.colours).expand(len(numbers), -1, -1)
        constants = torch.from_numpy(self.constants[numbers])[..., None]
        embeds = torch.cat([colours, constants], -1).expand(len(images), -1, -1, -1)
        features = torch.cat([pooled, torch.ones_like(pooled[:, :1])], 1)
        return BatchOutputs(tasks, scores, embeds, features)

    def save(self, folder, sizes=('B', 'H', 'W'), by_product=False):
        """Write it as ``model.onnx``; masks are a convolution, or a product of matrices."""
        node = helper.make_node
        level = np.ones(self.classes.shape[-1], np.float32)
        level[-1] = 0  # of "no object"
        queries = self.colours[..., None, None]
        masks = [node('Conv', ['pooled', 'queries'], ['masks'])]
        if by_product:
            queries = np.ascontiguousarray(self.colours.T)
            masks = [
                node('Transpose', ['pooled'], ['pixels'], perm=[0, 2, 3, 1]),
                node('MatMul', ['pixels', 'queries'], ['of_pixels']),
                node('Transpose', ['of_pixels'], ['masks'], perm=[0, 3, 1, 2]),
            ]
        nodes = [
            node('Sub', ['image', 'mean'], ['centred']),
            node('Div', ['centred', 'std'], ['scaled']),
            node('AveragePool', ['scaled'], ['pooled'], kernel_shape=[4, 4], strides=[4, 4]),
            node('ReduceMean', ['pooled', 'inner'], ['level'], keepdims=1),
            node('Mul', ['level', 'tenth'], ['small']),
            node('Gather', ['classes', 'tasks'], ['of_tasks']),
            node('Mul', ['small', 'counted'], ['added']),
            node('Add', ['of_tasks', 'added'], ['class_logits']),
            *masks,
            node('Unsqueeze', ['masks', 'first'], ['spread']),
            node('Gather', ['constants', 'tasks'], ['of_queries']),
            node('Unsqueeze', ['of_queries', 'last'], ['raised']),
            node('Add', ['spread', 'raised'], ['mask_logits']),
        ]
        tensors = dict(
            mean=np.float32(self.mean),
            std=np.float32(self.std),
            inner=np.array([1, 2, 3]),
            tenth=np.float32(0.1),
            counted=level,
            classes=self.classes,
            constants=self.constants,
            queries=queries,
            first=np.array([1]),
            last=np.array([3, 4]),
        )
        Q, K1 = self.classes.shape[1:]
        save_graph(folder, nodes, tensors, [['B', 'T', Q, K1], ['B', 'T', Q, 'h', 'w']], sizes)


def save_replay(folder, class_logits, mask_logits):
    """A graph that gives stored logits, whatever the image; of one image.

    Args:
        folder: Gets ``model.onnx``.
        class_logits: Array of shape (3, Q, K + 1).
        mask_logits: Array of shape (3, Q, h, w).
    """
    nodes = [
        helper.make_node('Gather', ['scores', 'tasks'], ['class_logits']),
        helper.make_node('Gather', ['masks', 'tasks'], ['mask_logits']),
    ]
    tensors = dict(scores=class_logits, masks=mask_logits)
    outputs = [['B', 'T', *values.shape[1:]] for values in tensors.values()]
    save_graph(folder, nodes, tensors, outputs)


def write_folder(folder, description, network, **changes):
    """Write the folder of an exported model, and return it.

    Args:
        folder: The folder.
        description: Its ``ModelDescription``.
        network: A ``Linear``.
        changes: Fields of the description that are others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network.save(folder)
    write_description(replace(description, **changes), folder)
    return folder
