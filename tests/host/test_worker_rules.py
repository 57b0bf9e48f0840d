"""What Microsoft's workers refuse when they load an app, asked on whichever Python runs the tests.

From the worker's own checks (`functions.py` of azure-functions-runtime and azure_functions_worker): the
real one is tried in test_real_worker.py on the version that is deployed.
"""

import inspect
import typing

import azure.functions as func
import pytest
from azure.functions import meta
from azure.functions.decorators.function_app import FunctionRegister

from tests.app.conftest import functions

FUNCTIONS = functions()


def bindings(function):
    return {one.name: one for one in function.get_bindings() if one.name != "$return"}


def test_the_module_has_one_app_and_no_second_one():
    import function_app

    found = [name for name, one in vars(function_app).items() if isinstance(one, FunctionRegister)]
    assert found == ["app"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_what_is_bound_and_at_most_the_context_besides(name):
    code = FUNCTIONS[name].get_user_function()
    taken = set(inspect.signature(code).parameters)
    assert taken - {"context"} == set(bindings(FUNCTIONS[name]))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_annotations_can_be_read_and_fit_their_bindings(name):
    code = FUNCTIONS[name].get_user_function()
    hints = typing.get_type_hints(code)
    for argument, binding in bindings(FUNCTIONS[name]).items():
        converter = meta.get_binding_registry().get(binding.type)
        assert converter.check_input_type_annotation(hints[argument]), (argument, hints[argument])
    assert hints.get("context", func.Context) is func.Context


@pytest.mark.parametrize("name", FUNCTIONS)
def test_only_what_has_a_return_binding_returns_something(name):
    """The worker fails an invocation that returns a value without one."""
    function = FUNCTIONS[name]
    returns = typing.get_type_hints(function.get_user_function())["return"]
    has_binding = any(one.name == "$return" for one in function.get_bindings())
    assert (returns is func.HttpResponse) is has_binding
    assert has_binding or returns is type(None)
