"""C++ classes whose virtual functions must not be called, from a header with abstract classes."""

import re

_FUNCTION = re.compile(r"\bvirtual ([^;{}~]*?\))\s*((?:const)?\s*(?:noexcept)?) = 0;")


def unused_calls(header: str, classes: list[str], namespace: str) -> str:
    """Return a class ``Unused...`` for each abstract class, whose calls end the program.

    A double derives from it and overrides the functions that it has.

    Args:
        header: text of the header.
        classes: names of the abstract classes.
        namespace: the one that they are in.
    """
    plain = re.sub(r"//.*|/\*.*?\*/", "", header)
    parts = [_class(plain, name, namespace) for name in classes]
    return "\n".join(parts)


def _class(header: str, name: str, namespace: str) -> str:
    body = re.search(rf"^class {name}\b[^;]*?^{{(.*?)^}};", header, re.DOTALL | re.MULTILINE)
    assert body is not None, name
    functions = [
        f"  {' '.join(declaration.split())} {qualifiers} override {{ std::abort(); }}"
        for declaration, qualifiers in _FUNCTION.findall(body[1])
    ]
    assert functions, name
    opening = f"namespace {namespace} {{\nstruct Unused{name} : {name} {{"
    return "\n".join([opening, *functions, "};", "}", f"using {namespace}::Unused{name};"])
