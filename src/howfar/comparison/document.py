"""The plain document of a comparison: the contract between `compare`, `--json`, `report` and whoever reads the file.

It holds null, booleans, finite numbers, strings, lists and dicts with string keys: never NaN, never infinity.
`Comparison.to_document` writes it, `Comparison.from_json` and `howfar report` read it back through `validate`.
Names and category labels are the raw text of the data: who prints them escapes them.

    format          "howfar.comparison"
    format_version  1
    howfar          the version that wrote it, text
    verdict         different      bool: the decision (significant, and above the tolerance where one is given)
                    significant    bool: p_value <= alpha
                    sentence       text for a manager
                    p_value        of "the two tables have one distribution", all statistics together, > 0
                    alpha          the level of the decision
                    effect         0..1: the largest effect among what was found different, else the largest of all
                    largest        name of the column with the largest effect, or null
    reference       name text, rows int
    current         name text, rows int
    distances       list, the overall distances:
                      name "energy_distance" (a row of the catalogue), label "Energy distance", value number,
                      unit text ("robust standard units", "none"), p_value number or null (null: not tested), note text
    columns         list, ranked by effect, largest first:
                      name, kind ("numeric" | "boolean" | "categorical" | "date")
                      effect       0..1, the largest gap in the share of rows: over "value <= t" for numeric and
                                   date columns (Kolmogorov-Smirnov), over sets of levels for boolean and
                                   categorical ones (total variation); null when one side has no value at all
                      p_value      of the values, by permutation, or null when they cannot be compared
                      p_adjusted   the same, adjusted for all tests of the comparison, or null
                      different    bool: p_adjusted <= alpha
                      shift        text, one line: "median 1115 -> 520 (-1.9 sd)"
                      missing      reference, current: share of rows 0..1; reference_count, current_count: int;
                                   p_value, p_adjusted: number, or null when nothing is missing; different: bool
                      reference    summary: dict of text -> number, text or null, in reading order. numeric: count,
                      current      mean, sd, min, q25, median, q75, max. date: the same with ISO text, sd in days.
                                   boolean: count, rate. categorical: count, levels, most_common. Same keys both sides.
                      measures     list of {label text, value number or null, unit text}: what else is known, in plain
                                   units (the 1-D Wasserstein distance in the data's unit, the shift of the mean, ...)
                      levels       list of {label, reference, current} (shares 0..1), those that moved most first;
                                   empty for numeric and date columns
                      new_levels, vanished_levels   lists of text; empty for numeric and date columns
                      histogram    null when neither side has a value, else
                                   edges   k + 1 increasing numbers (numeric), or ISO texts (date), else null
                                   labels  k texts (boolean, categorical), else null; exactly one of the two is a list
                                   reference, current   k shares 0..1 of the rows that have a value
    only_in_reference, only_in_current    lists of column names
    conflicts       list of {column, reference, current}: one name, two kinds that cannot be compared (kinds as text)
    ignored         list of {column, reason}
    projection      null, or method text ("principal components"), axes two texts,
                    reference and current lists of [x, y], at most 2000 a side
    locations       null, or note text, columns list of text (those shown in `values`), and
                    reference, current: lists of {row int (0-based, in the file), score number, values list of text}:
                    the rows most typical of their own side and least of the other, highest score first
    subsample       null, or rows_reference int, rows_current int, reason text
    settings        alpha, n_permutations, seed (int or null), tolerance (number or null), max_rows,
                    columns (list of text or null)
    warnings        list of text
"""
