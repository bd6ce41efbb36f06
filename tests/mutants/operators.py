"""Small wrong changes of a module, generated over its syntax tree."""

from __future__ import annotations

import ast
import copy
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
NEGATED = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
BOUNDARY = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
PAIRS = (
    ("mean", "sum"), ("min", "max"), ("amin", "amax"), ("argmin", "argmax"), ("minimum", "maximum"), ("any", "all"),
    ("cos", "sin"), ("floor", "ceil"), ("std", "var"), ("sqrt", "rsqrt"), ("idxmin", "idxmax"),
)  # fmt: skip
EXCHANGED = {one: other for pair in PAIRS for one, other in (pair, pair[::-1])}
UNWRAPPED = {"detach", "normalize", "abs", "clamp", "flip", "roll", "square", "sqrt", "exp", "log"}

ARGUMENTS_KEPT = ("isinstance", "hasattr", "min", "max", "minimum", "maximum")
"""Functions whose arguments have one order, or any."""

SPEED_KEYWORDS = {
    *("strict", "hint", "non_blocking", "memory_format", "fused", "pin_memory", "encoding", "maxsize", "progress"),
}
"""Keyword arguments that change speed, checks or messages, and no number."""

SPEED_CONSTANTS = ("_PER_BLOCK", "_TIMEOUT_S", "_INTERVAL_S", "_NUMEL", "_CANDIDATES")
"""Ends of the names of constants that change speed, and no number."""

SMALLEST = 1e-6
"""Constants up to this are guards against a division by zero."""

REPORTED = {"listener", "log", "warnings", "traceback"}
"""Objects whose methods report progress to a user."""


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        id: eight hexadecimal digits that stay as long as the changed line and its function do.
        module: path of the file below the root of the tree.
        line: its number.
        function: qualified name of the function or class that the line stands in; empty for the module.
        operator: name in ``OPERATORS``.
        before: the changed expression or statement.
        after: what it becomes.
        source: of the whole changed module.
    """

    id: str
    module: str
    line: int
    function: str
    operator: str
    before: str
    after: str
    source: str


def mutants_of(module: str, source: str) -> list[Mutant]:
    """All changes of a module that can be read as Python, in the order of its lines.

    Left alone are docstrings, types, imports, decorators, assertions, texts, errors and what is done only for a type
    checker; and the constants and keyword arguments that change nothing but speed.
    """
    lines = source.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    content, found, seen = source.encode(), [], dict[str, int]()
    for node, operator, after, function in changes(ast.parse(source), ""):
        first = starts[node.lineno - 1] + node.col_offset
        last = starts[node.end_lineno - 1] + node.end_col_offset
        before = " ".join(content[first:last].decode().split())
        new = after if isinstance(node, ast.stmt) else f"({after})"
        changed = (content[:first] + new.encode() + content[last:]).decode()
        key = f"{module}:{function}:{operator}:{before}:{after}"
        seen[key] = seen.get(key, -1) + 1
        digest = hashlib.sha256(f"{key}:{seen[key]}".encode()).hexdigest()[:8]
        found.append(Mutant(digest, module, node.lineno, function, operator, before, after, changed))
    return found


def changes(node: ast.AST, function: str) -> Iterator[tuple[ast.AST, str, str, str]]:
    """The node that is replaced, the operator, the new text and the function's name, for a node and all below it."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}".lstrip(".")
    for name, operator in OPERATORS.items():
        for after in operator(node):
            replaced = node.test if isinstance(node, ast.If) else node
            yield replaced, name, ast.unparse(ast.fix_missing_locations(after)), function
    for child in children(node):
        yield from changes(child, function)


UNTOUCHED = (ast.Raise, ast.Assert, ast.Import, ast.ImportFrom, ast.JoinedStr, ast.Delete)
"""Nodes in which nothing is changed."""


def children(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below a node in which something may be changed."""
    if isinstance(node, UNTOUCHED) or is_type_checking(node) or reports(node) or is_speed_constant(node):
        return
    skipped = {"annotation", "returns", "decorator_list", "bases", "keywords" if isinstance(node, ast.ClassDef) else ""}
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            is_speed_keyword = isinstance(child, ast.keyword) and child.arg in SPEED_KEYWORDS
            is_bound = isinstance(node, ast.Slice) and isinstance(child, ast.Constant)  # left to the operator on slices
            if isinstance(child, ast.AST) and name not in skipped and not is_speed_keyword and not is_bound:
                yield child


def is_type_checking(node: ast.AST) -> bool:
    """Whether a node is done for a type checker only."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def is_speed_constant(node: ast.AST) -> bool:
    """Whether a node assigns a constant that changes nothing but speed."""
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith(SPEED_CONSTANTS)


def reports(node: ast.AST) -> bool:
    """Whether a statement is a call that reports progress."""
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return False
    words = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
    words |= {name.attr for name in ast.walk(node) if isinstance(name, ast.Attribute)}
    return bool(words & REPORTED)


def arithmetic(node: ast.AST) -> Iterator[ast.AST]:
    """Another arithmetic operator: + and -, * and /, // to /, % to //, ** to *, & and |."""
    texts = (ast.JoinedStr, ast.Dict, ast.List, ast.Tuple)
    if not isinstance(node, ast.BinOp) or isinstance(node.left, texts) or isinstance(node.right, texts):
        return
    if type(node.op) in ARITHMETIC:
        yield with_fields(node, op=ARITHMETIC[type(node.op)]())


def comparison(node: ast.AST) -> Iterator[ast.AST]:
    """A boundary moved (< and <=, > and >=), or a comparison negated."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for table in (BOUNDARY, NEGATED):
            if type(node.ops[0]) in table:
                yield with_fields(node, ops=[table[type(node.ops[0])]()])


def constant(node: ast.AST) -> Iterator[ast.AST]:
    """A whole number one more or less, another number doubled or halved, 0.0 to 1.0, True and False."""
    if not isinstance(node, ast.Constant):
        return
    value, others = node.value, list[object]()
    if isinstance(value, bool):
        others = [not value]
    elif isinstance(value, int):
        others = [value + 1, value - 1]
    elif isinstance(value, float) and value == 0:
        others = [1.0]
    elif isinstance(value, float) and SMALLEST < value < float("inf"):
        others = [2 * value, value / 2]
    yield from map(ast.Constant, others)


def condition(node: ast.AST) -> Iterator[ast.AST]:
    """The condition of an if negated, the choices of an if-else exchanged, a not left out, and and or exchanged."""
    if isinstance(node, ast.If) and not is_type_checking(node):
        yield ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.IfExp):
        yield with_fields(node, body=node.orelse, orelse=node.body)
    elif isinstance(node, ast.BoolOp):
        yield with_fields(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand


def arguments(node: ast.AST) -> Iterator[ast.AST]:
    """The first two positional arguments of a call exchanged."""
    if isinstance(node, ast.Call) and len(node.args) > 1 and called(node) not in ARGUMENTS_KEPT:
        first, second, *others = node.args
        if not any(isinstance(argument, ast.Starred | ast.Constant) for argument in (first, second)):
            yield with_fields(node, args=[second, first, *others])


def keyword(node: ast.AST) -> Iterator[ast.AST]:
    """A keyword argument left out."""
    if isinstance(node, ast.Call):
        for left_out in node.keywords:
            if left_out.arg and left_out.arg not in SPEED_KEYWORDS:
                yield with_fields(node, keywords=[other for other in node.keywords if other is not left_out])


def statement(node: ast.AST) -> Iterator[ast.AST]:
    """A call, an update or an assignment to an attribute or element left out."""
    is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and not reports(node)
    is_assignment = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute | ast.Subscript)
    if is_call or is_assignment or isinstance(node, ast.AugAssign):
        yield ast.Pass()


def slice_bound(node: ast.AST) -> Iterator[ast.AST]:
    """A bound of a slice one further inwards."""
    if not isinstance(node, ast.Subscript):
        return
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    for index, item in enumerate(items):
        if not (isinstance(item, ast.Slice) and (item.lower or item.upper)):
            continue
        lower = ast.BinOp(item.lower, ast.Add(), ast.Constant(1)) if item.lower else ast.Constant(1)
        others = [with_fields(item, lower=lower)]
        if item.upper:
            others.append(with_fields(item, upper=ast.BinOp(item.upper, ast.Sub(), ast.Constant(1))))
        for other in others:
            changed = [*items[:index], other, *items[index + 1 :]]
            yield with_fields(node, slice=ast.Tuple(changed, ast.Load()) if len(items) > 1 else other)


def reduction(node: ast.AST) -> Iterator[ast.AST]:
    """Another function: mean and sum, min and max, argmin and argmax, any and all, cos and sin, sqrt and rsqrt, …."""
    if isinstance(node, ast.Call) and called(node) in EXCHANGED:
        key = "attr" if isinstance(node.func, ast.Attribute) else "id"
        yield with_fields(node, func=with_fields(node.func, **{key: EXCHANGED[called(node)]}))


def sign(node: ast.AST) -> Iterator[ast.AST]:
    """A minus left out."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield node.operand


def unwrapped(node: ast.AST) -> Iterator[ast.AST]:
    """A function of one tensor left out: detach, normalize, abs, clamp, flip, roll, square, sqrt, exp, log."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and called(node) in UNWRAPPED:
        of_module = isinstance(node.func.value, ast.Name) and node.func.value.id in ("F", "torch", "math", "np")
        yield from node.args[:1] if of_module else [node.func.value]


OPERATORS: dict[str, Callable[[ast.AST], Iterator[ast.AST]]] = {
    operator.__name__: operator
    for operator in (
        *(arithmetic, comparison, constant, condition, arguments, keyword),
        *(statement, slice_bound, reduction, sign, unwrapped),
    )
}
"""Of a node, what it may become; their names and docstrings are in the table."""


def called(node: ast.Call) -> str:
    """The name of the function or method that is called."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def with_fields(node: ast.AST, **fields: object) -> ast.AST:
    """A copy of a node with other fields."""
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed
