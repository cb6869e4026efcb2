"""The peers of the derivative rows: torch's reverse mode, ``torch.func``, and JAX.

Each takes a network of the package, without a domain, and points, and returns what the package
returns. JAX is imported only here and in the other rows' peers, so that the rest works without it.
"""

import importlib.util

import numpy as np
import torch
from timing import Contestant, compiled
from torch.func import functional_call, grad_and_value, jacfwd, jacrev, jvp, vmap

AUTOGRAD, TWICE = "torch.autograd.grad", "double backward"
FUNC, JAX, PRODUCTS = "torch.func", "JAX jit", "bare matrix products"
NUMPY_PRODUCTS = "bare matrix products, NumPy"


def missing(module: str) -> bool:
    """Return whether a peer's package is not installed."""
    return importlib.util.find_spec(module) is None


def perceptron(weights, biases, points, tanh):
    """Return the values of a perceptron, for torch's tensors or JAX's arrays."""
    layer = points
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        layer = tanh(layer @ weight + bias)
    return (layer @ weights[-1] + biases[-1])[..., 0]


def in_jax(model, *arrays):
    """Return the weights, the biases and further arrays as JAX's arrays in float64."""
    import jax

    jax.config.update("jax_enable_x64", True)
    convert = jax.numpy.asarray
    weights, biases = (
        [convert(p.detach().numpy()) for p in ps] for ps in (model.weights, model.biases)
    )
    return weights, biases, *(convert(array.numpy()) for array in arrays)


def jax_values(weights, biases, points):
    """Return the values of a perceptron in JAX."""
    import jax

    return perceptron(weights, biases, points, jax.numpy.tanh)


def jax_contestant(function, *arguments) -> Contestant:
    """Return a function of JAX as a contestant, compiled already."""
    import jax

    jitted, seconds = compiled(function, *arguments)

    def run():
        return jax.block_until_ready(jitted(*arguments))

    return Contestant(name=JAX, run=run, compile_seconds=seconds)


def stateless(model):
    """Return a module's weights, as tensors that no graph follows, and its value at one point."""
    module = model.to_sequential()
    weights = {name: weight.detach() for name, weight in module.named_parameters()}

    def value(weights, point):
        return functional_call(module, weights, (point[None],))[0]

    return weights, value


# Values and gradients


def autograd_value_gradient(model, points) -> Contestant:
    """Return the usual way: the gradient of the sum of all values."""
    module = model.to_sequential()

    def run():
        inputs = points.clone().requires_grad_(True)
        values = module(inputs)
        (gradients,) = torch.autograd.grad(values.sum(), inputs)
        return values.detach(), gradients

    return Contestant(name=AUTOGRAD, run=run)


def func_value_gradient(model, points) -> Contestant:
    """Return ``vmap(grad_and_value)``."""
    weights, value = stateless(model)
    mapped = vmap(grad_and_value(lambda point: value(weights, point)))
    return Contestant(name=FUNC, run=lambda: mapped(points)[::-1])


def jax_value_gradient(model, points) -> Contestant:
    """Return ``value_and_grad`` of the sum, with the values beside it."""
    import jax

    def total(points, weights, biases):
        values = jax_values(weights, biases, points)
        return values.sum(), values

    def both(weights, biases, points):
        (_, values), gradients = jax.value_and_grad(total, has_aux=True)(points, weights, biases)
        return values, gradients

    return jax_contestant(both, *in_jax(model, points))


def matrix_products(model, points, rows=1024) -> Contestant:
    """Return the products of a forward and a reverse pass alone, a thousand rows at a time."""
    weights = [weight.detach() for weight in model.weights]
    count, widths = min(rows, len(points)), (model.inputs, *model.hidden, 1)
    layers = [torch.rand(count, width, dtype=points.dtype) for width in widths]
    into = [torch.empty(count, width, dtype=points.dtype) for width in widths]

    def run():
        for first in range(0, len(points), rows):
            part = slice(min(rows, len(points) - first))
            layers[0][part] = points[first : first + rows]
            for k, weight in enumerate(weights):
                torch.mm(layers[k][part], weight, out=into[k + 1][part])
            for k, weight in enumerate(weights[:-1]):
                torch.mm(layers[k + 1][part], weight.T, out=into[k][part])
        return ()

    return Contestant(name=PRODUCTS, run=run, checked=False)


# Hessians, and their products with vectors


def twice_hessian(model, points) -> Contestant:
    """Return a reverse pass, and one more through its graph for each input."""
    module = model.to_sequential()

    def run():
        inputs = points.clone().requires_grad_(True)
        values = module(inputs)
        (gradients,) = torch.autograd.grad(values.sum(), inputs, create_graph=True)
        columns = [
            torch.autograd.grad(slopes.sum(), inputs, retain_graph=True)[0]
            for slopes in gradients.unbind(1)
        ]
        return values.detach(), gradients.detach(), torch.stack(columns, 1)

    return Contestant(name=TWICE, run=run)


def func_hessian(model, points) -> Contestant:
    """Return forward mode over reverse mode, as ``torch.func.hessian`` does, keeping both."""
    weights, value = stateless(model)

    def slopes(point):
        gradient, result = grad_and_value(lambda point: value(weights, point))(point)
        return gradient, (result, gradient)

    mapped = vmap(jacfwd(slopes, has_aux=True))

    def run():
        hessians, (values, gradients) = mapped(points)
        return values, gradients, hessians

    return Contestant(name=FUNC, run=run)


def jax_hessian(model, points) -> Contestant:
    """Return forward mode over reverse mode, as ``jax.hessian`` does, keeping both."""
    import jax

    def slopes(point, weights, biases):
        value, gradient = jax.value_and_grad(lambda x: jax_values(weights, biases, x))(point)
        return gradient, (value, gradient)

    def all_three(weights, biases, points):
        mapped = jax.vmap(jax.jacfwd(slopes, has_aux=True), (0, None, None))
        hessians, (values, gradients) = mapped(points, weights, biases)
        return values, gradients, hessians

    return jax_contestant(all_three, *in_jax(model, points))


def twice_product(model, points, vectors) -> Contestant:
    """Return the gradient of the slope along the vectors."""
    module = model.to_sequential()

    def run():
        inputs = points.clone().requires_grad_(True)
        total = module(inputs).sum()
        (gradients,) = torch.autograd.grad(total, inputs, create_graph=True)
        return torch.autograd.grad((gradients * vectors).sum(), inputs)

    return Contestant(name=TWICE, run=run)


def func_product(model, points, vectors) -> Contestant:
    """Return the derivative of the gradient along the vectors, by forward mode."""
    weights, _ = stateless(model)
    module = model.to_sequential()
    slopes = torch.func.grad(lambda inputs: functional_call(module, weights, (inputs,)).sum())
    return Contestant(name=FUNC, run=lambda: jvp(slopes, (points,), (vectors,))[1:])


def jax_product(model, points, vectors) -> Contestant:
    """Return the derivative of the gradient along the vectors, by forward mode."""
    import jax

    def product(weights, biases, points, vectors):
        slopes = jax.grad(lambda inputs: jax_values(weights, biases, inputs).sum())
        return jax.jvp(slopes, (points,), (vectors,))[1:]

    return jax_contestant(product, *in_jax(model, points, vectors))


# Jacobians in the weights


def func_weight_jacobian(model, points, gradients: bool) -> Contestant:
    """Return ``vmap(jacrev)`` in the weights, laid out as the package does."""
    weights, value = stateless(model)

    def outputs(weights, point):
        if not gradients:
            return value(weights, point)
        slopes, result = grad_and_value(lambda x: value(weights, x))(point)
        return torch.cat([result[None], slopes])

    mapped = vmap(jacrev(outputs), (None, 0))

    def run():
        jacobians = mapped(weights, points)
        matrices = [j.mT.flatten(-2) for name, j in jacobians.items() if "weight" in name]
        shifts = [j for name, j in jacobians.items() if "bias" in name]
        return _values_and_gradients(torch.cat([*matrices, *shifts], -1), gradients)

    return Contestant(name=FUNC, run=run)


def jax_weight_jacobian(model, points, gradients: bool) -> Contestant:
    """Return ``vmap(jacrev)`` in the weights, laid out as the package does."""
    import jax

    def outputs(weights_and_biases, point):
        def value(x):
            return jax_values(*weights_and_biases, x)

        if not gradients:
            return value(point)
        result, slopes = jax.value_and_grad(value)(point)
        return jax.numpy.concatenate([result[None], slopes])

    def jacobian(weights, biases, points):
        mapped = jax.vmap(jax.jacrev(outputs), (None, 0))
        of_weights, of_biases = mapped((weights, biases), points)
        flat = [j.reshape(*j.shape[:-2], -1) for j in of_weights]
        joined = jax.numpy.concatenate([*flat, *of_biases], -1)
        return _values_and_gradients(joined, gradients)

    return jax_contestant(jacobian, *in_jax(model, points))


def _values_and_gradients(jacobian, gradients):
    """Return the parts of a Jacobian as the package does."""
    return (jacobian[:, 0], jacobian[:, 1:]) if gradients else (jacobian,)


def uniform_points(count: int, inputs: int, seed: int = 0) -> torch.Tensor:
    """Return points in the cube from -1 to 1."""
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1.0, 1.0, (count, inputs)))
