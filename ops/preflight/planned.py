"""The planned deployment: the template of this checkout, filled in as `sam deploy` would do it."""

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from local import deploy
from ops.session import session_in
from ops.target import NoStackError, OperatorError, Target, find, in_its_region

SAMCONFIG: Final = deploy.ROOT / "samconfig.toml"
OUTSIDE: Final = ("LOCAL_DEV", "CLOCK_SPEED")
"""Variables that only a function of `rotation up` has; no template sets them."""
Parameters: TypeAlias = dict[str, str]


@dataclass(frozen=True, slots=True)
class Configured:
    """A section of samconfig.toml: stack, region and parameters of a deployment."""

    stack_name: str | None
    region: str | None
    parameters: Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStack:
    """The template's functions as they would be: what each reserves and its variables, "" for what is not made yet."""

    target: Target
    parameters: Parameters
    reserved: Mapping[str, str]
    environments: Mapping[str, Mapping[str, str]]
    functions: frozenset[str]
    """Every function that the template knows, also where its condition does not hold."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Fan-out's variables: it has all that the others have of LML, database and budget."""
        return self.environments["FanOutFunction"]


def configured(path: Path, section: str) -> Configured:
    """Read a section of a samconfig.toml, its global parameters under those of deploy; raises OperatorError."""
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))[section]
        parts = [read.get(command, {}).get("parameters", {}) for command in ("global", "deploy")]
    except KeyError:
        raise OperatorError(f"{path} has no section {section}: name one that it has by --config-env") from None
    except (OSError, ValueError, AttributeError) as error:
        raise OperatorError(
            f"{path} cannot be read as a samconfig.toml: {error}; correct it, or name another one by --config-file"
        ) from None
    merged: dict[str, Any] = {name: value for part in parts for name, value in part.items()}
    overrides = merged.get("parameter_overrides", [])
    pairs = shlex.split(overrides) if isinstance(overrides, str) else [str(pair) for pair in overrides]
    return Configured(merged.get("stack_name"), merged.get("region"), dict(map(assignment, pairs)))


def assignment(text: str) -> tuple[str, str]:
    """Split NAME=VALUE; raises OperatorError."""
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z0-9]+", name):
        raise OperatorError(f"{text!r} is not NAME=VALUE with a template parameter, such as ScheduleState=DISABLED")
    return name, value.strip("\"'")


def template_for(given: Parameters) -> deploy.Template:
    """Return the template; raises OperatorError for parameters that it does not know."""
    template = deploy.read()
    if unknown := given.keys() - template["Parameters"].keys():
        raise OperatorError(
            f"the template has no parameter {', '.join(sorted(unknown))}: `Parameters` in template.yaml has them all"
        )
    return template


def plan(template: deploy.Template, stack_name: str | None, region: str | None, given: Parameters) -> PlannedStack:
    """Fill the template in: its defaults, over them the stack's own values, over them the given ones.

    A stack that does not exist yet leaves the defaults and the given ones. Raises OperatorError, and what AWS raises.
    """
    target, standing = _standing(stack_name, region)
    defaults = {name: str(it.get("Default", "")) for name, it in template["Parameters"].items()}
    parameters = defaults | {name: value for name, value in standing.items() if name in defaults} | given
    fill, outside = _Filler(template, parameters, target.names), _outside(target)
    functions = {name: it for name, it in template["Resources"].items() if it["Type"] == "AWS::Serverless::Function"}
    made = {
        name: it["Properties"] for name, it in functions.items() if "Condition" not in it or fill.holds(it["Condition"])
    }
    everywhere = template["Globals"]["Function"]["Environment"]["Variables"]
    return PlannedStack(
        target=target,
        parameters=parameters,
        functions=frozenset(functions),
        reserved={name: fill.text(it.get("ReservedConcurrentExecutions", 0)) for name, it in made.items()},
        environments={
            name: fill.texts(everywhere | it["Environment"]["Variables"]) | outside for name, it in made.items()
        },
    )


def _outside(target: Target) -> Parameters:
    if "FanOutFunction" not in target.names:
        return {}
    deployed = target.environment("FanOutFunction")
    return {name: deployed[name] for name in OUTSIDE if name in deployed}


def _standing(stack_name: str | None, region: str | None) -> tuple[Target, Parameters]:
    """Return the stack and its parameters; without resources, and none, where it was never deployed."""
    try:
        target = find(stack_name, region)
    except NoStackError:
        session = session_in(region)
        title = f"{in_its_region(stack_name or deploy.STACK, session)}, which does not exist yet"
        return Target(title=title, names={}, session=session), {}
    stacks = target.client("cloudformation").describe_stacks(StackName=stack_name or deploy.STACK)["Stacks"]
    return target, {it["ParameterKey"]: it["ParameterValue"] for it in stacks[0].get("Parameters", ())}


class _Filler:
    """Evaluates values as CloudFormation does, as far as functions' variables and conditions need it."""

    def __init__(self, template: deploy.Template, parameters: Parameters, names: Mapping[str, str]) -> None:
        self._conditions = template["Conditions"]
        self._parameters = parameters
        self._names = names

    def holds(self, condition: str) -> bool:
        return bool(self._value(self._conditions[condition]))

    def text(self, node: object) -> str:
        return str(self._value(node))

    def texts(self, variables: Mapping[str, object]) -> dict[str, str]:
        values = {name: self._value(node) for name, node in variables.items()}
        return {name: str(value) for name, value in values.items() if value is not None}

    def _value(self, node: object) -> object:
        match node:
            case {"Ref": "AWS::NoValue"}:
                return None
            case {"Ref": str(name)}:
                return self._parameters.get(name, self._names.get(name, ""))
            case {"Fn::If": [str(condition), then, otherwise]}:
                return self._value(then if self.holds(condition) else otherwise)
            case {"Fn::Equals": [left, right]}:
                return self._value(left) == self._value(right)
            case {"Fn::Not": [condition]}:
                return not self._value(condition)
            case dict():
                raise ValueError(f"not understood in the template: {node}")
            case _:
                return node
