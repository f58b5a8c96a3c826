"""With what a network runs: precision, memory layout, compiler. One is the reference, the others must agree with it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dermfuse.cache.errors import UserError

Run = Callable[[Tensor], Tensor]

# Images a request of OpenVINO's; the fastest is found out.
_REQUEST_SIZES = (1, 2)


@dataclass(frozen=True)
class Candidate:
    """One way of running a network.

    Attributes
    ----------
    name : str
    precision : str
        Class of the numbers it computes in, part of the cache key: ``float32``, ``bfloat16``, ``float16`` or ``tf32``.
    build : callable
        ``build(body, device, shape)`` gives a callable from uint8 images to float32 vectors, both on the device; it
        may raise anything where this machine lacks what it needs.
    static : bool
        It is built for one size of batch, so that smaller batches are filled up.
    divides : bool
        It divides what it is given among the cores by itself, so that it is best given much at once.
    seconds, gain : float
        What building usually costs, and how many times faster than the reference it usually is: only a first
        guess of what is worth trying, see ``tests/benchmarks/RESULTS.md``.
    load : callable or None
        ``load(built)`` gives what `build` once gave, from the bytes that its ``export()`` made.
    """

    name: str
    precision: str
    build: Callable[[nn.Module, torch.device, tuple[int, ...]], Run]
    static: bool = False
    divides: bool = False
    seconds: float = 0.0
    gain: float = 1.0
    load: Callable[[bytes], Run] | None = None


class Runtime:
    """A network run by a candidate, for batches of any size; built at the first batch.

    Parameters
    ----------
    candidate : Candidate
    body : nn.Module
        Images (n, 3, side, side) uint8 to vectors (n, width) float32.
    device : torch.device
    batch : int, optional
        Most images at once, where the candidate does not divide them itself; as many as are given when None, which a
        static candidate does not allow.
    built : bytes, optional
        What :meth:`export` gave on this machine, taken in place of building.

    Attributes
    ----------
    batch : int or None
        As given, or less when that did not fit into the device's memory.
    halved : bool
        It did not fit.
    """

    def __init__(
        self,
        candidate: Candidate,
        body: nn.Module,
        device: torch.device,
        batch: int | None = None,
        built: bytes | None = None,
    ):
        self.candidate, self.batch, self.halved = candidate, batch, False
        self._body, self._device = body, device
        self._run: Run | None = None if built is None else candidate.load(built)

    def export(self) -> bytes | None:
        """What was built, for another process on this machine; None where it is not built, or cannot be kept."""
        return None if self._run is None or self.candidate.load is None else self._run.export()

    @property
    def precision(self) -> str:
        """Class of the numbers it computes in."""
        return self.candidate.precision

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Vectors of images.

        Parameters
        ----------
        images : Tensor, shape (n, 3, side, side), uint8

        Returns
        -------
        Tensor, shape (n, width), float32, on the device

        Raises
        ------
        UserError
            The device has no memory for a single image.
        """
        images = images.to(self._device, non_blocking=True)
        done, vectors = 0, []
        while done < len(images):
            chunk = images[done : done + self._most(len(images))]
            try:
                vectors.append(self._of(chunk))
            except torch.OutOfMemoryError:
                self._halve(len(chunk))
                continue
            done += len(chunk)
        return vectors[0] if len(vectors) == 1 else torch.cat(vectors)

    def _most(self, given: int) -> int:
        return given if self.candidate.divides or self.batch is None else self.batch

    def _of(self, chunk: Tensor) -> Tensor:
        if self._run is None:
            self._run = self.candidate.build(self._body, self._device, (self.batch or len(chunk), *chunk.shape[1:]))
        if not self.candidate.static or len(chunk) == self.batch:
            return self._run(chunk)
        filled = chunk.new_zeros((self.batch, *chunk.shape[1:]))
        filled[: len(chunk)] = chunk
        return self._run(filled)[: len(chunk)]

    def _halve(self, tried: int) -> None:
        self._run = None
        torch.cuda.empty_cache()
        if tried == 1 and (self.batch or 1) == 1:
            raise UserError(
                f"the memory of {self._device} does not hold one image's work. Free some of it, or give --device cpu."
            )
        self.batch, self.halved = max(1, (self.batch or tried) // 2), True


def candidates(device: torch.device) -> list[Candidate]:
    """All ways of running a network on a device, the reference first."""
    return [REFERENCE, *(_ON_CUDA if device.type == "cuda" else _ON_CPU)]


def _reference(body: nn.Module, device: torch.device, shape: tuple[int, ...]) -> Run:
    def run(images: Tensor) -> Tensor:
        with _tf32(False):
            return body(images.contiguous())

    return run


def _channels_last(dtype: torch.dtype = torch.float32, tf32: bool = False):
    """Eager, pixels beside their channels in memory; in less than 32 bits where PyTorch's autocast holds it safe."""

    def build(body: nn.Module, device: torch.device, shape: tuple[int, ...]) -> Run:
        body = copy.deepcopy(body).to(memory_format=torch.channels_last)

        def run(images: Tensor) -> Tensor:
            with _tf32(tf32), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                return body(images.contiguous(memory_format=torch.channels_last))

        return run

    return build


def _compiled(dtype: torch.dtype):
    """TorchInductor, which needs Triton."""

    def build(body: nn.Module, device: torch.device, shape: tuple[int, ...]) -> Run:
        body = copy.deepcopy(body).to(memory_format=torch.channels_last)
        torch._dynamo.reset()
        compiled = torch.compile(body, dynamic=False)

        def run(images: Tensor) -> Tensor:
            with torch.no_grad(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                return compiled(images.contiguous(memory_format=torch.channels_last))

        return run

    return build


def _cuda_graph(dtype: torch.dtype):
    """One recorded sequence of kernels, replayed for each batch; see PyTorch's notes on CUDA graphs."""

    def build(body: nn.Module, device: torch.device, shape: tuple[int, ...]) -> Run:
        eager = _channels_last(dtype)(body, device, shape)
        given = torch.zeros(shape, dtype=torch.uint8, device=device).to(memory_format=torch.channels_last)
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(3):  # libraries choose their kernels before the recording
                eager(given)
        torch.cuda.current_stream(device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            made = eager(given)

        def run(images: Tensor) -> Tensor:
            given.copy_(images, non_blocking=True)
            graph.replay()
            return made.clone()

        return run

    return build


def _tf32(allowed: bool):
    """Whether convolutions may use TensorFloat-32 inside the context; on a GPU, PyTorch allows it by default."""
    return torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=allowed)


def _openvino(body: nn.Module, device: torch.device, shape: tuple[int, ...]) -> Run:
    """OpenVINO's CPU plug-in, https://docs.openvino.ai, straight from the module: a stream a core.

    Cores that work on images of their own never wait for each other, as they do when they share each layer of a batch,
    and the activations of one or two images stay in a core's own cache.
    """
    import openvino

    model = _converted(body, shape[1:])
    streams, settings = torch.get_num_threads(), _openvino_settings()
    # A few images are best spread over the cores.
    sizes = [size for size in _REQUEST_SIZES if size * streams <= shape[0]] or [1]
    core, timed = openvino.Core(), []
    images = torch.zeros((max(sizes) * streams, *shape[1:]), dtype=torch.uint8)
    for size in sizes:
        model.reshape([size, *shape[2:], shape[1]])
        run = _OpenVinoRun(core.compile_model(model, "CPU", settings), size)
        run(images)
        timed.append((min(_seconds(run, images) for _ in range(2)), size, run))
    return min(timed)[-1]


def _converted(body: nn.Module, shape: tuple[int, ...]):
    """A network as OpenVINO's model, from bytes with the channels of a pixel beside each other."""
    import warnings

    import openvino

    example = torch.zeros((1, *shape), dtype=torch.uint8)
    with warnings.catch_warnings():
        # That shapes are taken for constants, which they are here; and that PyTorch will drop this way of tracing.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", message="`torch.jit", category=FutureWarning)
        warnings.filterwarnings("ignore", message="`torch.jit", category=DeprecationWarning)
        # OpenVINO would trace it twice and load PyTorch's compiler to compare the two; `choose` compares with the
        # reference what comes out at the end.
        traced = torch.jit.trace(body, example, check_trace=False)
        model = openvino.convert_model(traced, example_input=example, input=[(-1, *shape)])
    steps = openvino.preprocess.PrePostProcessor(model)
    steps.input().tensor().set_layout(openvino.Layout("NHWC"))
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    return steps.build()


def _openvino_settings() -> dict:
    streams = torch.get_num_threads()
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": streams,
        "NUM_STREAMS": streams,
        "ENABLE_CPU_PINNING": False,  # else two processes that use a core each would share the first
    }


def _loaded(built: bytes) -> Run:
    import io

    import openvino

    model = openvino.Core().import_model(io.BytesIO(built), "CPU", _openvino_settings())
    return _OpenVinoRun(model, model.input(0).shape[0])


class _OpenVinoRun:
    """What OpenVINO compiled for requests of `size` images, as a run for any number of them."""

    def __init__(self, model, size: int):
        import openvino

        self._model = model
        # Twice as many as there are cores, so that none waits for its next.
        self._run = _divided(openvino.AsyncInferQueue(model, 2 * torch.get_num_threads()), size)

    def __call__(self, images: Tensor) -> Tensor:
        return self._run(images)

    def export(self) -> bytes:
        """The compiled model, for the same version on the same machine."""
        made = self._model.export_model()
        return made if isinstance(made, bytes) else made.getvalue()


def _seconds(run: Run, images: Tensor) -> float:
    started = time.perf_counter()
    run(images)
    return time.perf_counter() - started


def _divided(queue, size: int) -> Run:
    """Give each request of a queue `size` images; the last is filled up."""

    def run(images: Tensor) -> Tensor:
        import numpy as np

        pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
        parts = [None] * -(-len(images) // size)

        def keep(request, part: int) -> None:
            parts[part] = request.get_output_tensor(0).data.copy()

        queue.set_callback(keep)
        given = []  # kept until it is read
        try:
            for part in range(len(parts)):
                given.append(pixels[part * size : (part + 1) * size])
                if len(given[-1]) < size:
                    absent = np.zeros((size - len(given[-1]), *pixels.shape[1:]), pixels.dtype)
                    given[-1] = np.concatenate([given[-1], absent])
                queue.start_async([given[-1]], part, share_inputs=True)
        finally:  # nothing may go on behind an interrupt
            queue.wait_all()
        return torch.from_numpy(np.concatenate(parts)[: len(images)])

    return run


REFERENCE = Candidate("reference", "float32", _reference)

# In bfloat16 a processor is faster still, and its vectors differ (RESULTS.md): it is there for who asks for it.
_ON_CPU = (
    Candidate("channels last", "float32", _channels_last(), gain=1.5),
    Candidate("OpenVINO", "float32", _openvino, divides=True, seconds=2, gain=4.5, load=_loaded),
    Candidate("bfloat16", "bfloat16", _channels_last(torch.bfloat16), gain=1),
)
_ON_CUDA = (
    Candidate("channels last", "float32", _channels_last(), gain=1.2),
    Candidate("TF32", "tf32", _channels_last(tf32=True), gain=2),
    Candidate("float16", "float16", _channels_last(torch.float16), gain=4),
    Candidate("bfloat16", "bfloat16", _channels_last(torch.bfloat16), gain=4),
    Candidate("CUDA graph float16", "float16", _cuda_graph(torch.float16), static=True, seconds=1, gain=5),
    Candidate("CUDA graph bfloat16", "bfloat16", _cuda_graph(torch.bfloat16), static=True, seconds=1, gain=5),
    Candidate("compiled float16", "float16", _compiled(torch.float16), static=True, seconds=40, gain=6),
)
PRECISIONS = tuple(dict.fromkeys(c.precision for c in (REFERENCE, *_ON_CPU, *_ON_CUDA)))
