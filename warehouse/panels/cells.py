"""Names and training shares of a field's cells, read from stored baselines.

The names are those of `sketches.baseline.bins.bin_labels`, which verdicts use for `top_bin`. Categories below 0.5 % of
training are `other`, as in the PSI, together with values that do not occur in training.
"""

from barograph_server.warehouse.panels.fragments import MODEL

_EDGE_TEXTS = """if(
            length(arrayDistinct(arrayMap(edge -> printf('%.6g', edge), edges))) = length(edges),
            arrayMap(edge -> printf('%.6g', edge), edges), arrayMap(edge -> toString(edge), edges)
        )"""
_WHOLE = """arrayMap(
            (first, following) -> multiIf(
                following - 1 = first, toString(first),
                first < 0, concat(toString(first), ' to ', toString(following - 1)),
                concat(toString(first), '–', toString(following - 1))
            ), arrayPopBack(firsts), arrayPopFront(firsts)
        )"""


def cells_of(field: str, slice_name: str) -> str:
    """Select the cells of one field: `baseline_id`, `names` and `expected`, both with one entry per cell.

    `expected` has shares that sum to 1: of the slice in training, or of all training data if the slice is not in it.
    """
    return f"""
    SELECT
        baseline_id,
        multiIf(
            kind = 'category', arrayConcat(
                arrayMap(
                    (name, n) -> if(n * 200 < arraySum(whole), 'other', name),
                    categories, arraySlice(whole, 1, length(categories))
                ),
                ['other', 'null']
            ),
            empty(edges), ['any value', 'null'],
            whole_numbers, arrayConcat(
                [concat('≤ ', toString(firsts[1] - 1))], {_WHOLE}, [concat('≥ ', toString(firsts[-1])), 'null']
            ),
            arrayConcat(
                [concat('< ', texts[1])],
                arrayMap((low, high) -> concat('[', low, ', ', high, ')'), arrayPopBack(texts), arrayPopFront(texts)),
                [concat('≥ ', texts[-1]), 'null']
            )
        ) AS names,
        arrayMap(n -> n / arraySum(trained), trained) AS expected
    FROM
    (
        SELECT
            baseline_id,
            JSONExtractString(json, 'kind') AS kind,
            JSONExtract(json, 'categories', 'Array(String)') AS categories,
            JSONExtract(json, 'edges', 'Array(Float64)') AS edges,
            JSONExtractBool(json, 'integer') AND arrayAll(edge -> abs(edge) < 9007199254740992, edges) AS whole_numbers,
            if(whole_numbers, arrayMap(edge -> toInt64(ceil(edge)), edges), []::Array(Int64)) AS firsts,
            {_EDGE_TEXTS} AS texts,
            JSONExtract(json, 'slices', 'all', 'cells', 'Array(UInt64)') AS whole,
            JSONExtract(json, 'slices', {slice_name}, 'cells', 'Array(UInt64)') AS own,
            if(arraySum(own) = 0, whole, own) AS trained
        FROM
        (
            SELECT
                baseline_id,
                arrayFirst(
                    one -> JSONExtractString(one, 'name') = {field},
                    JSONExtractArrayRaw(any(body), 'baseline', 'fields')
                ) AS json
            FROM baselines
            WHERE {MODEL}
            GROUP BY baseline_id
        )
        WHERE json != ''
    )
    """
