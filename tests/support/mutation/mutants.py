"""Which small changes to a module's source would break it: its mutants. Nothing is run here.

No mutant changes what only people and type checkers read: annotations, docstrings, other texts,
what is logged, imports, and what `if TYPE_CHECKING` holds; nor which fields attrs takes from a
call: nobody passes one that it does not take now.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_COMPARISONS: Final[Mapping[type[ast.cmpop], str]] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
_ARITHMETIC: Final[Mapping[type[ast.operator], str]] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
}
_OTHER_NAMES: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
_ONLY_READ: Final = {"log", "logging", "warnings"}
"""Names whose calls change nothing but what people read."""


@frozen
class Mutant:
    """One change: the text of lines and columns (from 1, and in bytes from 0), and its successor.

    `before` and `after` are the changed line without its indentation, for people, and for the list
    of those that may survive.
    """

    line: int
    before: str
    after: str
    source: str


@frozen
class _Change:
    node: ast.expr | ast.stmt
    text: str


def mutants_of(source: str) -> list[Mutant]:
    """All mutants of a module, in the order of their lines."""
    lines = source.encode().splitlines(keepends=True)
    found = [_mutant(lines, change) for change in _changes(ast.parse(source))]
    return sorted(found, key=lambda mutant: (mutant.line, mutant.after))


def _mutant(lines: list[bytes], change: _Change) -> Mutant:
    node, text = change.node, change.text
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    old = b"".join(lines[first : last + 1])
    tail = lines[last][node.end_col_offset :]
    new = lines[first][: node.col_offset] + text.encode() + tail
    return Mutant(
        line=node.lineno,
        before=_one_line(old),
        after=_one_line(new),
        source=b"".join([*lines[:first], new, *lines[last + 1 :]]).decode(),
    )


def _one_line(text: bytes) -> str:
    return " ".join(text.decode().split())


def _changes(tree: ast.AST) -> Iterator[_Change]:
    for child in _children_that_run(tree):
        yield from _changes_of(child)
        yield from _changes(child)


def _children_that_run(node: ast.AST) -> Iterator[ast.AST]:
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "type_params", "bases"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_only_read(child):
                yield child


def _is_only_read(node: ast.AST) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Assert() | ast.JoinedStr():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Expr(value=ast.Constant()) | ast.keyword(arg="init"):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
            return name in _ONLY_READ
        case ast.FunctionDef(name="__repr__" | "__str__"):
            return True
    return False


def _changes_of(node: ast.AST) -> Iterator[_Change]:
    if isinstance(node, ast.stmt):
        yield from _changes_of_statement(node)
    elif isinstance(node, ast.expr):
        yield from _changes_of_expression(node)
    if isinstance(node, ast.If | ast.While | ast.IfExp) and not _is_changed_itself(node.test):
        yield _Change(node.test, f"not ({ast.unparse(node.test)})")
    if isinstance(node, ast.comprehension):
        for test in node.ifs:
            if not _is_changed_itself(test):
                yield _Change(test, f"not ({ast.unparse(test)})")


def _is_changed_itself(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare | ast.Constant) or (
        isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    )


def _changes_of_statement(node: ast.stmt) -> Iterator[_Change]:
    match node:
        case ast.Expr() | ast.Delete() | ast.AugAssign() | ast.Raise():
            yield _Change(node, "pass")
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
            yield _Change(node, "pass")
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield _Change(node, "return None")
        case ast.Break():
            yield _Change(node, "continue")
        case ast.Continue():
            yield _Change(node, "break")


def _changes_of_expression(node: ast.expr) -> Iterator[_Change]:
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
            yield _replaced(node, left, _COMPARISONS[type(op)], right)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _ARITHMETIC:
            yield _replaced(node, left, _ARITHMETIC[type(operator)], right)
        case ast.BoolOp(op=joint, values=values):
            other = " or " if isinstance(joint, ast.And) else " and "
            yield _Change(node, f"({other.join(f'({ast.unparse(value)})' for value in values)})")
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield _Change(node, f"({ast.unparse(operand)})")
        case ast.Constant(value=bool() as value):
            yield _Change(node, str(not value))
        case ast.Constant(value=int() | float() as value):
            yield _Change(node, repr(value + 1))
        case ast.Call(func=ast.Name(id=name) as function) if name in _OTHER_NAMES:
            yield _Change(function, _OTHER_NAMES[name])


def _replaced(node: ast.expr, left: ast.expr, operator: str, right: ast.expr) -> _Change:
    return _Change(node, f"({ast.unparse(left)} {operator} {ast.unparse(right)})")
