"""An exported OneFormer behind Gradio, as a Space's app.py: see docs/serve.md. It needs gradio."""

import gradio as gr
import numpy as np

from oneformer_runtime import OnnxOneFormer

model = OnnxOneFormer('exported')  # beside this file: model.onnx and model.json


def segment(image, task):
    (found,) = model(np.ascontiguousarray(image[..., ::-1]), tasks=task)
    if task == 'panoptic':
        parts = [(found.panoptic_map == part['id'], part['category']) for part in found.segments]
    elif task == 'instance':
        parts = [(mask, found.names[label]) for mask, label in zip(found.masks, found.labels)]
    else:
        labels = np.unique(found.semantic_map)
        parts = [(found.semantic_map == label, found.names[label]) for label in labels]
    return image, [(mask.astype(np.float32), name) for mask, name in parts]


tasks = gr.Radio(['panoptic', 'instance', 'semantic'], value='panoptic')
gr.Interface(segment, [gr.Image(), tasks], gr.AnnotatedImage()).queue(max_size=16).launch()
