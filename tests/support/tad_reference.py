"""Detection metrics written out with plain loops, from the published rules; slow, and independent of the product."""


def tiou(a, b):
    inter = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = (a[1] - a[0]) + (b[1] - b[0]) - inter
    return inter / union if union > 0 else 0.0


def loop_map(database, results, thresholds):
    """AP by threshold and class name."""
    truth = {}
    for video, entry in database.items():
        for note in entry["annotations"]:
            truth.setdefault(note["label"], {}).setdefault(video, []).append([float(x) for x in note["segment"]])
    out = {}
    for threshold in thresholds:
        for label, videos in truth.items():
            ranked = sorted(
                (-entry["score"], video, entry["segment"])
                for video, entries in results.items()
                for entry in entries
                if entry["label"] == label
            )
            free = {video: [True] * len(segments) for video, segments in videos.items()}
            hits = []
            for _, video, segment in ranked:
                overlaps = [(tiou(segment, s), n) for n, s in enumerate(videos.get(video, []))]
                fitting = [(o, n) for o, n in overlaps if o >= threshold and free[video][n]]
                hits.append(bool(fitting))
                if fitting:
                    free[video][max(fitting)[1]] = False
            total = sum(len(segments) for segments in videos.values())
            precision, recall, right = [], [], 0
            for rank, hit in enumerate(hits, start=1):
                right += hit
                precision.append(right / rank)
                recall.append(right / total)
            area, before = 0.0, 0.0
            for place, value in enumerate(recall):
                if value > before:
                    area += (value - before) * max(precision[place:])
                    before = value
            out[threshold, label] = area
    return out


def loop_recall(database, results, max_avg, thresholds):
    """Average recall at each of the 100 steps."""
    videos = [video for video, entry in database.items() if entry["annotations"]]
    ratio = max_avg * len(videos) / sum(len(entries) for entries in results.values())
    kept = {}
    for video in videos:
        ranked = sorted(results.get(video, []), key=lambda entry: -entry["score"])
        kept[video] = ranked[: min(int(len(ranked) * ratio), len(ranked))]
    used = sum(len(entries) for entries in kept.values())
    curve = []
    for step in range(1, 101):
        share = step / 100.0 * (max_avg * float(len(videos)) / used)
        found = total = 0
        for video in videos:
            count = min(int(len(kept[video]) * share), len(kept[video]))
            for note in database[video]["annotations"]:
                for threshold in thresholds:
                    total += 1
                    found += any(tiou(entry["segment"], note["segment"]) >= threshold for entry in kept[video][:count])
        curve.append(found / total)
    return curve
