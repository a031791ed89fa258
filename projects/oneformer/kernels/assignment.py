"""The assignment of queries to targets, solved on the host while the device has other work.

Shapes: L decoder outputs, Q queries, N targets of an image.
"""

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..host.transfers import ToHost, send_all


class Assignment:
    """The assignment of a batch, whose costs are on their way to the host.

    Args:
        costs: Costs of each image, of shape (L, Q, N).
    """

    def __init__(self, costs: Sequence[Tensor]) -> None:
        self._shapes = [cost.shape for cost in costs]
        if not costs:
            return
        self._device = costs[0].device
        flat = torch.cat([cost.flatten() for cost in costs])
        # the original ranks undefined costs last by 100; one copy serves all images and outputs
        self._flat = ToHost(torch.nan_to_num(flat, nan=100.0))

    def queries(self) -> list[Tensor]:
        """Wait for the costs, and solve.

        Returns:
            For each image the query of each target, int64 of shape (L, N) and on the device of the
            costs; -1 for targets left over because there are more targets than queries.
        """
        if not self._shapes:
            return []
        host = self._flat.wait().split([shape.numel() for shape in self._shapes])
        queries = []
        for cost, (L, _, N) in zip(host, self._shapes):
            query_of = torch.full((L, N), -1)
            for row, matrix in zip(query_of, cost.view(L, -1, N).numpy() if N else ()):
                query, target = linear_sum_assignment(matrix)
                row[target] = torch.from_numpy(query)
            queries.append(query_of)
        return send_all(queries, self._device)
