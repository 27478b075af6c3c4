"""A small invented shop as two CSV files, to try things on before one's own data.

It says nothing about the world.
"""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from recsys_lib.core.errors import InputError
from recsys_lib.core.files import write_atomically

# Department, then what it sells, in several languages as shops that grew by purchase do.
_DEPARTMENTS = """
Tea and coffee: green tea, espresso beans, teapot, milk frother, cold brew bottle, chai blend,
    Kräutertee, Kaffeemühle, thé noir, café molido, 乌龙茶, 咖啡杯
Garden: tomato seeds, watering can, pruning shears, raised bed, compost bin, lavender plant,
    Gießkanne, Blumenerde, tuyau d'arrosage, maceta de barro, 花盆, 园艺手套
Climbing: climbing rope, chalk bag, carabiner, harness, bouldering shoes, belay device,
    Kletterschuhe, Eispickel, corde d'escalade, arnés, 登山绳, 岩粉袋
Photography: camera tripod, prime lens, memory card, lens filter, film roll, camera strap,
    Kameratasche, Blitzgerät, objectif grand angle, trípode, 相机包, 镜头盖
Board games: strategy game, jigsaw puzzle, card game, chess set, dice tower, party quiz,
    Brettspiel, Würfelspiel, jeu de société, juego de cartas, 围棋, 桌游
Knitting: merino yarn, knitting needles, crochet hook, sock pattern, stitch markers, yarn bowl,
    Sockenwolle, Häkelnadel, pelote de laine, ovillo de algodón, 毛线, 编织针
Baking: bread flour, proofing basket, cake tin, rolling pin, vanilla pods, cookie cutter,
    Gärkörbchen, Springform, moule à gâteau, harina de trigo, 烘焙模具, 擀面杖
Cycling: bike light, inner tube, cycling helmet, chain oil, handlebar bag, bike pump,
    Fahrradschloss, Satteltasche, casque de vélo, cámara de aire, 自行车灯, 车锁
"""
_MANNERS = (
    "Classic", "Travel", "Premium", "Compact", "Organic", "Everyday", "Family", "Limited", "Handmade",
    "Light", "Vintage", "Pro",
)  # fmt: skip
_BRANDS = (
    "Alderbrook", "Fjällvik", "Monte Rosa", "Kitsune", "Old Mill", "Señora Luz", "Nordwind", "Atelier Ré",
    "云山", "Pebble & Co",
)  # fmt: skip
_START, _DAYS = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), 730


def write_sample(
    folder: str | Path, n_users: int = 600, n_items: int = 300, seed: int = 0, sales: int = 16
) -> tuple[Path, Path]:
    """Write ``interactions.csv`` (customer, sku, stars, date) and ``items.csv`` (sku, title, category, brand,
    price); returns both.

    ``sales``: the mean number of a customer's purchases.

    Customers prefer a few departments, which the texts show; a taste of four dimensions that no text shows;
    and what sells well. A third of the items appear during the two years. As in real files, some texts are
    missing, some titles occur twice, some things are bought again, and some sales are of items that the table
    lacks. The same arguments write the same files.

    Raises:
        InputError: fewer than one user, two items or two sales.
    """
    if n_users < 1 or n_items < 2 or sales < 2:
        raise InputError(
            f"n_users={n_users!r}, n_items={n_items!r}, sales={sales!r}: expected at least 1, 2 and 2"
        )
    rng = np.random.default_rng(seed)
    department, items = _items(n_items, rng)
    launched = np.where(rng.random(n_items) < 0.35, rng.uniform(0, _DAYS, n_items), 0.0)
    launched[0] = 0.0
    bought = _sales(department, launched, n_users, sales, rng)
    folder = Path(folder)
    paths = folder / "interactions.csv", folder / "items.csv"
    _write(paths[0], ("customer", "sku", "stars", "date"), bought)
    _write(paths[1], ("sku", "title", "category", "brand", "price"), items)
    return paths


def _sku(item: int) -> str:
    return f"SKU-{item + 1:04d}"


def _items(n: int, rng: np.random.Generator) -> tuple[np.ndarray, list[list[str]]]:
    """The department of every item, ``[n]``, and the rows of the table."""
    text = _DEPARTMENTS.strip().replace(",\n    ", ", ")
    lines = [line.partition(": ") for line in text.splitlines()]
    names, words = [name for name, _, _ in lines], [rest.split(", ") for _, _, rest in lines]
    department = rng.integers(0, len(names), n)
    rows: list[list[str]] = []
    for item, place in enumerate(department):
        word, manner, brand = rng.choice(words[place]), rng.choice(_MANNERS), rng.choice(_BRANDS)
        price = f"{rng.lognormal(3, 0.6):.2f}"
        blank_title, blank_category = rng.random(2) < (0.04, 0.06)
        title = "" if blank_title else f"{manner} {word}"
        rows.append([_sku(item), title, "" if blank_category else names[place], str(brand), price])
    return department, rows


def _sales(
    department: np.ndarray, launched: np.ndarray, n_users: int, sales: int, rng: np.random.Generator
) -> list[tuple[str, ...]]:
    """Sales in the order of time: each customer draws among the items that are there and not yet bought."""
    n = len(department)
    favourites = rng.dirichlet(np.full(department.max() + 1, 0.3), n_users)
    hidden_items, hidden_users = rng.standard_normal((n, 4)), rng.standard_normal((n_users, 4))
    liking = 1.3 * np.log(favourites + 0.01)[:, department] + 0.8 * hidden_users @ hidden_items.T
    appeal, spread = liking + 0.7 * rng.standard_normal(n), liking.std()
    counts = 2 + rng.poisson(rng.gamma(1.5, (sales - 2) / 1.5, n_users))
    user = np.repeat(np.arange(n_users), np.minimum(counts, max(1, n // 3)))
    joined = rng.uniform(0, 0.8 * _DAYS, n_users)[user]
    day = joined + rng.random(len(user)) * (_DAYS - joined)
    order = np.argsort(day, kind="stable")
    bought, rows = np.zeros((n_users, n), dtype=bool), []
    for u, t in zip(user[order], day[order], strict=True):
        # Gumbel's trick: the largest of score + noise is a draw from the softmax of the scores.
        score = np.where((launched <= t) & ~bought[u], appeal[u] + rng.gumbel(size=n), -np.inf)
        item, chance = int(score.argmax()), rng.random()
        bought[u, item] = True
        stars = int(
            np.clip(np.rint(3.5 + 0.4 * liking[u, item] / spread + 0.8 * rng.standard_normal()), 1, 5)
        )
        date = (_START + datetime.timedelta(days=float(t))).strftime("%Y-%m-%d %H:%M:%S")
        sku = "SKU-9999" if chance < 0.01 else _sku(item)  # an item that has left the table
        rows.append((f"kunde-{u:05d}", sku, str(stars), date))
        if chance > 0.98 and t + 1 < _DAYS:  # bought again within the day
            again = (_START + datetime.timedelta(days=float(t) + rng.random())).strftime("%Y-%m-%d %H:%M:%S")
            rows.append((f"kunde-{u:05d}", sku, str(stars), again))
    return sorted(rows, key=lambda row: row[3])


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A CSV file, whole: others may read the same sample at this moment."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, text.getvalue())
