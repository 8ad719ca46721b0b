"""Time and peak memory of re-ID evaluation and re-ranking, against dense code, at growing gallery sizes.

Every measurement runs in a child process, so that the peak (``ru_maxrss``) is that of one variant, with interpreter,
libraries, features and result. The dense variants were written for this file from the published definitions; they keep
the matrices of the usual code (the whole distance matrix, its int64 order and match matrix; for re-ranking the N x N
distances, order, encoding, expanded encoding and Jaccard matrices).

    python benchmarks/reid_eval.py                 # all sizes, writes docs/results/reid_eval.{md,json}
    python benchmarks/reid_eval.py --quick --out /tmp/x
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MSMT17 = (11_659, 82_161, 1536)
EVALUATION = [(710, 5_000, 1536), (1_419, 10_000, 1536), (2_838, 20_000, 1536), (5_676, 40_000, 1536), MSMT17]
# Queries and gallery sum to the number of features that are re-ranked.
RERANKING = [(310, 2_190, 1536), (621, 4_379, 1536), (1_242, 8_758, 1536), (2_485, 17_515, 1536)]
QUICK_EVALUATION = [(70, 500, 64)]
QUICK_RERANKING = [(50, 350, 64)]
EXPERIMENTS = {
    "evaluation": ("dense", "evaluate_features", "ReIDMetric"),
    "reranking": ("dense", "rerank", "rerank_float64"),
}
TARGETS_GIB = {
    ("evaluation", "evaluate_features", MSMT17[1]): 2.5,
    ("evaluation", "ReIDMetric", MSMT17[1]): 2.5,
    ("reranking", "rerank", 17_515): 2.0,
}


def dense_bytes(experiment: str, queries: int, gallery: int) -> int:
    """Least bytes that the dense variant holds at once."""
    total = queries + gallery
    # float32 distances, int64 order, int64 identities in that order, bool matches; for re-ranking float32 distances,
    # int64 and int32 orders.
    return 21 * queries * gallery if experiment == "evaluation" else 16 * total * total


def make_features(queries: int, gallery: int, dim: int):
    """Seeded features around one centre per identity (27 gallery pictures each, 15 cameras, as MSMT17 has)."""
    import torch

    generator = torch.Generator().manual_seed(0)
    total = queries + gallery
    identities = torch.randint(0, max(2, gallery // 27), (total,), generator=generator)
    cameras = torch.randint(0, 15, (total,), generator=generator)
    centres = torch.randn(int(identities.max()) + 1, dim, generator=generator)
    features = torch.randn(total, dim, generator=generator)
    features.mul_(4.0)
    for start in range(0, total, 4096):
        features[start : start + 4096] += centres[identities[start : start + 4096]]
    labels = (identities[:queries], identities[queries:], cameras[:queries], cameras[queries:])
    return features[:queries], features[queries:], tuple(each.numpy() for each in labels)


def dense_evaluate(query, gallery, labels):
    """Whole distance matrix, whole order, whole match matrix, then a loop over queries."""
    import numpy as np
    import torch

    unit = torch.nn.functional.normalize
    distance = (1 - unit(query, dim=1) @ unit(gallery, dim=1).T).numpy()
    query_ids, gallery_ids, query_cams, gallery_cams = labels
    order = np.argsort(distance, axis=1, kind="stable")
    matches = (gallery_ids[order] == query_ids[:, None]).astype(np.int32)
    precisions, firsts = [], []
    for q in range(len(distance)):
        kept = ~((gallery_ids[order[q]] == query_ids[q]) & (gallery_cams[order[q]] == query_cams[q]))
        hits = matches[q][kept]
        if not hits.any():
            continue
        ranks = np.flatnonzero(hits) + 1
        precisions.append((np.arange(1, len(ranks) + 1) / ranks).mean())
        firsts.append(ranks[0])
    return float(np.mean(precisions)), float(np.mean(np.array(firsts) == 1))


def dense_rerank(query, gallery, k1=20, k2=6, lambda_=0.3):
    """k-reciprocal re-ranking with full float32 matrices and a loop over pictures."""
    import numpy as np
    import torch

    x = torch.nn.functional.normalize(torch.cat([query, gallery]), dim=1)
    total, queries = len(x), len(query)
    distance = (2 - 2 * x @ x.T).clamp_min_(0).fill_diagonal_(0).numpy()
    distance = distance / distance.max(axis=1, keepdims=True)
    order = np.argsort(distance, axis=1).astype(np.int32)

    def reciprocal(order, i, k):
        forward = order[i, : k + 1]
        return forward[(order[forward, : k + 1] == i).any(axis=1)]

    encoding = np.zeros((total, total), dtype=np.float32)
    half = int(np.around(k1 / 2))
    for i in range(total):
        core = reciprocal(order, i, k1)
        expanded = core
        for c in core:
            extra = reciprocal(order, c, half)
            if len(np.intersect1d(extra, core)) > 2 / 3 * len(extra):
                expanded = np.append(expanded, extra)
        expanded = np.unique(expanded)
        weights = np.exp(-distance[i, expanded])
        encoding[i, expanded] = weights / weights.sum()
    averaged = np.zeros_like(encoding)
    for i in range(total):
        averaged[i] = encoding[order[i, :k2]].mean(axis=0)
    encoding = averaged
    del averaged, order
    inverse = [np.flatnonzero(encoding[:, j]) for j in range(total)]
    jaccard = np.zeros((queries, total), dtype=np.float32)
    for i in range(queries):
        shared = np.zeros(total, dtype=np.float32)
        for j in np.flatnonzero(encoding[i]):
            shared[inverse[j]] += np.minimum(encoding[i, j], encoding[inverse[j], j])
        jaccard[i] = 1 - shared / (2 - shared)
    return ((1 - lambda_) * jaccard + lambda_ * distance[:queries])[:, queries:]


def measure(experiment: str, variant: str, size: tuple[int, int, int]) -> dict[str, float]:
    """Run one variant in this process."""
    import torch

    from vision_suite.metrics.reid import evaluate, evaluate_features, rerank
    from vision_suite.metrics.reid_metric import ReIDMetric
    from vision_suite.types import Role

    query, gallery, labels = make_features(*size)
    metric = None
    if variant == "ReIDMetric":
        metric = ReIDMetric()
        query_ids, gallery_ids, query_cams, gallery_cams = (torch.from_numpy(each) for each in labels)
        parts = (
            (query, query_ids, query_cams, Role.QUERY, 0),
            (gallery, gallery_ids, gallery_cams, Role.GALLERY, len(query)),
        )
        for features, ids, cams, role, offset in parts:
            for start in range(0, len(features), 128):
                rows = slice(start, start + 128)
                count = len(ids[rows])
                index = torch.arange(count) + start + offset
                metric.update(features[rows], ids[rows], cams[rows], torch.full((count,), int(role)), index)
        # The metric holds its own copy, as it does after a validation epoch.
        del query, gallery, features, parts
    before, start_time = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    if experiment == "reranking":
        if variant == "dense":
            final = dense_rerank(query, gallery)
        else:
            final = rerank(query.double(), gallery.double()) if variant == "rerank_float64" else rerank(query, gallery)
    elif metric is not None:
        result = metric.compute()
        scores = float(result["mAP"]), float(result["rank1"])
    elif variant == "dense":
        scores = dense_evaluate(query, gallery, labels)
    else:
        found = evaluate_features(query, gallery, *labels)
        scores = found["mAP"], float(found["cmc"][0])
    seconds, after = time.perf_counter() - start_time, resource.getrusage(resource.RUSAGE_SELF)
    if experiment == "reranking":
        found = evaluate(final, *labels)
        scores = found["mAP"], float(found["cmc"][0])
    return {
        "seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_mib": after.ru_maxrss / 1024,
        "before_mib": before.ru_maxrss / 1024,
        "mAP": 100 * scores[0],
        "rank1": 100 * scores[1],
    }


def run_all(sizes: dict[str, list[tuple[int, int, int]]], threads: int) -> list[dict[str, object]]:
    """Run every measurement in a child process; a dense run beyond the free memory is recorded as not run."""
    records: list[dict[str, object]] = []
    for experiment, variants in EXPERIMENTS.items():
        for size in sizes[experiment]:
            queries, gallery, dim = size
            for variant in variants:
                common = {
                    "experiment": experiment,
                    "variant": variant,
                    "gallery_size": gallery,
                    "queries": queries,
                    "dim": dim,
                }
                need = dense_bytes(experiment, queries, gallery) if variant == "dense" else 0
                if need > 0.6 * free_bytes():
                    print(f"{experiment} {variant} {size}: not run, holds at least {need / 2**30:.1f} GiB", flush=True)
                    records.append({**common, "metric": "needs_at_least_mib", "value": need / 2**20})
                    continue
                print(f"{experiment} {variant} {size} ...", end=" ", flush=True)
                found = in_child(experiment, variant, size, threads)
                times = f"{found['seconds']:.1f} s, {found['cpu_seconds']:.1f} CPU-s"
                print(f"{times}, peak {found['peak_mib']:.0f} MiB, mAP {found['mAP']:.4f}", flush=True)
                records += [{**common, "metric": metric, "value": value} for metric, value in found.items()]
    return records


def in_child(experiment: str, variant: str, size: tuple[int, int, int], threads: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", experiment, variant, *map(str, size), "--threads", str(threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def free_bytes() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def page(records: list[dict[str, object]], threads: int) -> str:
    """The results as Markdown."""
    import importlib.metadata

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    values = {
        (r["experiment"], r["variant"], r["gallery_size"], r["metric"]): (r["value"], r["queries"], r["dim"])
        for r in records
    }
    changed = git("status", "--porcelain", "--", "vision_suite/metrics", "benchmarks/reid_eval.py")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "numpy", "scipy"))
    command = "python benchmarks/reid_eval.py " + " ".join(sys.argv[1:])
    lines = [
        "# Re-ID evaluation and re-ranking: time and peak memory",
        "",
        f"Command: `{command.strip()}`. Commit: `{git('rev-parse', '--short', 'HEAD')}`"
        f"{' with uncommitted changes' if changed else ''}. One run of each.",
        f"Hardware: {processor()}, {threads} threads, no GPU; other work may share the machine. {versions}, "
        f"Python {platform.python_version()}.",
        "",
        "Features are random (seeded) around one centre per identity, 27 gallery pictures per identity, 15 cameras.",
        "Each row is a process of its own; the peak is its `ru_maxrss` and includes interpreter, libraries and",
        "features. `dense` is code written for this page from the published definitions; it keeps the matrices",
        "of the usual evaluators. Ratios are dense / suite: above 1 the suite is cheaper or smaller. The ratio of",
        "time is that of CPU-seconds, which other work on the machine disturbs less than seconds.",
        "`rerank_float64` is the same function on float64 features; differences in the last digits of the float32",
        "rows come from near ties between neighbours.",
    ]
    for experiment, variants in EXPERIMENTS.items():
        lines += ["", f"## {experiment.capitalize()}", ""]
        lines += [
            "| gallery | queries | dim | variant | seconds | CPU-seconds | peak MiB | mAP % | rank-1 % | CPU ratio "
            "| memory ratio |"
        ]
        lines += ["|---|---|---|---|---|---|---|---|---|---|---|"]
        for gallery in sorted({int(str(r["gallery_size"])) for r in records if r["experiment"] == experiment}):
            for variant in variants:
                key = (experiment, variant, gallery)
                if (*key, "needs_at_least_mib") in values:
                    need, queries, dim = values[(*key, "needs_at_least_mib")]
                    rest = f"not run | | at least {need:,.0f} by arithmetic | | | | |"
                    lines.append(f"| {gallery:,} | {queries:,} | {dim} | {variant} | {rest}")
                    continue
                seconds, queries, dim = values[(*key, "seconds")]
                cpu, peak, mean_ap, rank1 = (
                    values[(*key, name)][0] for name in ("cpu_seconds", "peak_mib", "mAP", "rank1")
                )
                dense = (experiment, "dense", gallery)
                ratios = "| |"
                if variant != "dense" and (*dense, "cpu_seconds") in values:
                    faster, smaller = values[(*dense, "cpu_seconds")][0] / cpu, values[(*dense, "peak_mib")][0] / peak
                    ratios = f"{faster:.1f} | {smaller:.1f} |"
                row = f"| {gallery:,} | {queries:,} | {dim} | {variant} | {seconds:.1f} | {cpu:.1f} | {peak:,.0f} "
                lines.append(row + f"| {mean_ap:.4f} | {rank1:.3f} | {ratios}")
        for (kind, variant, gallery), limit in TARGETS_GIB.items():
            if kind == experiment and (kind, variant, gallery, "peak_mib") in values:
                peak = values[(kind, variant, gallery, "peak_mib")][0] / 1024
                verdict = "met" if peak < limit else "missed"
                lines += [
                    "",
                    f"Target, `{variant}` at gallery {gallery:,}: peak under {limit} GiB. {peak:.2f} GiB: {verdict}.",
                ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one tiny size of each, to see that it works")
    parser.add_argument("--threads", type=int, default=2, help="torch threads of each measurement")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results", help="folder of the two result files")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        import torch

        torch.set_num_threads(arguments.threads)
        experiment, variant, *size = arguments.child
        print(json.dumps(measure(experiment, variant, tuple(map(int, size)))))
        return
    quick = {"evaluation": QUICK_EVALUATION, "reranking": QUICK_RERANKING}
    full = {"evaluation": EVALUATION, "reranking": RERANKING}
    records = run_all(quick if arguments.quick else full, arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "reid_eval.json").write_text(json.dumps(records, indent=1) + "\n")
    (arguments.out / "reid_eval.md").write_text(page(records, arguments.threads))
    print(f"wrote {arguments.out / 'reid_eval.md'} and reid_eval.json", flush=True)


if __name__ == "__main__":
    main()
