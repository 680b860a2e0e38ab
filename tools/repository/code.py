"""The code contains no construct that loses events, executes data, or gives one name to two things."""

import ast
from collections import defaultdict
from collections.abc import Iterator

from tools.repository.tree import Repository, check

FAUST_MODULE = "streams/monitor/app.py"
LOSES_RECORDS = {"take", "noack_take", "through", "group_by", "echo"}
"""Methods of a Faust stream that buffer or acknowledge automatically (docs/decisions/0004)."""
KEEPS_STATE = {
    *("Table", "GlobalTable", "SetTable", "SetGlobalTable"),
    *("tumbling", "hopping", "sliding", "relative_to_now"),
}
"""Methods of a Faust app for state that expires by the wall clock and is lost in a rebalance."""
FAUST_ARGUMENTS = {
    "processing_guarantee": "'at_least_once'",
    "stream_wait_empty": "False",
    "web_enabled": "False",
    "worker_redirect_stdouts": "False",
    "table_standby_replicas": "0",
    "topic_disable_leader": "True",
    "agent_supervisor": "CrashingSupervisor",
}
"""Arguments of the app whose defaults in Faust are unsafe here."""
OPENS_CODE = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
"""Modules whose formats execute code when they are read."""
CONTRACT = "client/src/barograph/contract"
SECTIONS = tuple(f"{CONTRACT}/{name}.py" for name in ("model", "alerts", "evaluators"))
"""The files whose structs declare the keys of the contract file."""
WORDS = {"class", "text"}
"""Keys whose names also mean something else: the member of an event, and plain text."""
LOADS_ANY_OBJECT = {"full_load", "full_load_all", "unsafe_load", "unsafe_load_all", "UnsafeLoader", "FullLoader"}


@check
def the_monitor_reads_streams_only_in_the_safe_way(repository: Repository) -> Iterator[str]:
    """The Faust app acknowledges nothing by itself, keeps no state, and reads with one agent at a time."""
    calls = [node for node in ast.walk(repository.tree(FAUST_MODULE)) if isinstance(node, ast.Call)]
    for call in calls:
        if (name := _last_name(call.func)) in LOSES_RECORDS | KEEPS_STATE:
            yield f"{FAUST_MODULE}:{call.lineno}: {name} loses records or state"
    for node in ast.walk(repository.tree(FAUST_MODULE)):
        if (isinstance(node, ast.AsyncFor) or (isinstance(node, ast.comprehension) and node.is_async)) and (
            not ast.unparse(node.iter).endswith(".noack().events()")
        ):
            yield f"{FAUST_MODULE}:{node.iter.lineno}: read streams with `.noack().events()`"
    concurrencies = [ast.unparse(each.value) for call in calls for each in call.keywords if each.arg == "concurrency"]
    if concurrencies != ["1"]:
        yield f"{FAUST_MODULE}: one agent with concurrency=1, not {concurrencies}"
    apps = [
        {each.arg: ast.unparse(each.value) for each in call.keywords}
        for call in calls
        if ast.unparse(call.func) == "DisklessApp"
    ]
    for name, value in FAUST_ARGUMENTS.items():
        if [app.get(name) for app in apps] != [value]:
            yield f"{FAUST_MODULE}: the app needs {name}={value}"


@check
def no_file_evaluates_text_or_allows_pickle(repository: Repository) -> Iterator[str]:
    """`eval`, `exec`, `compile` and `allow_pickle` occur in no program of the product and its benchmarks."""
    for path in [*repository.product(), *repository.python("benchmarks")]:
        for node in ast.walk(repository.tree(path)):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
                yield f"{path}:{node.value.lineno}: allow_pickle"
            if isinstance(node, ast.Name) and node.id in ("eval", "exec", "compile"):
                yield f"{path}:{node.lineno}: {node.id}"


@check
def no_program_reads_formats_that_execute_code(repository: Repository) -> Iterator[str]:
    """No program, test or tool imports a module of `OPENS_CODE`, however it does."""
    for path in _with_words(repository, OPENS_CODE):
        for node in ast.walk(repository.tree(path)):
            for name in _imported(node):
                if name.partition(".")[0] in OPENS_CODE:
                    yield f"{path}:{getattr(node, 'lineno', 1)}: {name} executes code when it reads"


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    if isinstance(node, ast.Attribute) and node.attr in ("read_pickle", "to_pickle"):
        return ["pickle"]
    if isinstance(node, ast.Call) and _last_name(node.func) in ("__import__", "import_module"):
        return [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return []


@check
def yaml_is_loaded_safely_everywhere(repository: Repository) -> Iterator[str]:
    """Only loaders of PyYAML that build no objects are called."""
    for path in _with_words(repository, {"yaml.", *LOADS_ANY_OBJECT}):
        for node in ast.walk(repository.tree(path)):
            if not isinstance(node, ast.Call):
                continue
            function, name = ast.unparse(node.func), _last_name(node.func)
            loaders = [*map(ast.unparse, node.args[1:]), *(ast.unparse(each.value) for each in node.keywords)]
            loads = function.startswith("yaml.") and name in ("load", "load_all", "compose", "compose_all")
            if name in LOADS_ANY_OBJECT or (loads and not any("Safe" in loader for loader in loaders)):
                yield f"{path}:{node.lineno}: {function} without a safe loader"


@check
def a_key_of_the_contract_is_named_once(repository: Repository) -> Iterator[str]:
    """Beside the structs and the checks, no file that reads or writes contracts names a key."""
    keys = {key for path in SECTIONS for key in _contract_keys(repository.tree(path))} - WORDS
    for path in repository.python(CONTRACT):
        if path not in SECTIONS and not path.startswith(f"{CONTRACT}/check"):
            for node in ast.walk(repository.tree(path)):
                if isinstance(node, ast.Constant) and node.value in keys:
                    yield f"{path}:{node.lineno}: {node.value!r}; declare it in {SECTIONS[0]}, and derive the rest"


def _contract_keys(tree: ast.Module) -> Iterator[str]:
    """Find the annotated members of structs, and the keys that `At` gives them instead."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation).startswith("Annotated["):
            calls = [each for each in ast.walk(node.annotation) if isinstance(each, ast.Call)]
            renames = [each for each in calls if _last_name(each.func) == "At"]
            names = [ast.literal_eval(each) for rename in renames for each in rename.args]
            yield from names or [ast.unparse(node.target).removesuffix("_s").removesuffix("_")]


@check
def a_class_name_stands_for_one_thing(repository: Repository) -> Iterator[str]:
    """No two classes of the product have one name. Private and nested classes count, too."""
    locations: defaultdict[str, list[str]] = defaultdict(list)
    for path in repository.product():
        for node in ast.walk(repository.tree(path)):
            if isinstance(node, ast.ClassDef):
                locations[node.name].append(f"{path}:{node.lineno}")
    yield from (f"class {name} is defined in {', '.join(paths)}" for name, paths in locations.items() if len(paths) > 1)


def _last_name(function: ast.expr) -> str:
    """Return the last name of a called expression: `take` for `stream.take`."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _with_words(repository: Repository, words: set[str]) -> list[str]:
    return [path for path in repository.python() if any(word in repository.texts[path] for word in words)]
