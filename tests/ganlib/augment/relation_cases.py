"""Tables that hold a relation between columns, one of each kind."""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas as pd

from ganlib.data.constraints import Combination, Line, Order, Product, Sum

ROWS = 300


def rng_of(seed):
    return np.random.default_rng(seed)


def whole(rng, least=0, most=60, rows=ROWS):
    return rng.integers(least, most, rows)


def cents(rng, shape=3.0, scale=10.0, rows=ROWS):
    return np.round(rng.gamma(shape, scale, rows), 2)


def days(rng, rows=ROWS):
    return pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), unit="D")


def minutes(values):
    return pd.to_timedelta(values, unit="min")


def added(rng, make):
    """Two columns and their sum."""
    p, q = make(rng), make(rng)
    return {"p": p, "q": q, "total": p + q}


def spread(rng, make, convert=lambda v: v):
    low = make(rng)
    return {"low": convert(low), "high": convert(low + make(rng))}


def cities(rng, convert):
    city = whole(rng, 0, 12)
    return {"city": convert(city), "country": convert(city // 4)}


@dataclass
class Case:
    """A table, and the relation that is found in it (or given)."""

    columns: object
    relation: object
    given: bool = False
    found: int = 1

    def frame(self, seed=0, lacking=0.0):
        rng = rng_of(seed)
        frame = pd.DataFrame(self.columns(rng)).assign(other=rng.normal(size=ROWS))
        for name in frame.columns if lacking else ():
            frame[name] = frame[name].mask(rng.random(ROWS) < lacking)
        return frame


def two_sums(rng):
    net, tax, off = cents(rng), cents(rng, 2, 5), cents(rng, 1, 2)
    gross = np.round(net + tax, 2)
    return {"net": net, "tax": tax, "off": off, "gross": gross, "pay": np.round(gross - off, 2)}


def stay(rng):
    start, nights = days(rng), whole(rng, 1, 20)
    return {"start": start, "nights": nights, "end": start + pd.to_timedelta(nights, unit="D")}


def lasting(rng):
    start, wait = days(rng).tz_localize("Europe/Berlin"), minutes(whole(rng, 1, 3000))
    return {"start": start, "wait": wait, "end": start + wait}


def sensors(rng, convert=lambda v: np.round(v, 3)):
    base = rng.normal(20, 5, ROWS)
    return {"inside": convert(base), "outside": convert(1.8 * base + 32 + rng.normal(0, 0.4, ROWS))}


def amounts(rng):
    price, quantity = cents(rng), whole(rng, 1, 12)
    return {"price": price, "quantity": quantity, "amount": np.round(price * quantity, 2)}


CASES = {
    "order of whole numbers": Case(lambda r: spread(r, whole), Order(("low", "high"))),
    "strict order": Case(lambda r: spread(r, lambda g: whole(g, 1, 20)), Order(("low", "high"), strict=True)),
    "order of cents": Case(lambda r: spread(r, cents, lambda v: np.round(v, 2)), Order(("low", "high"))),
    "order of floats": Case(lambda r: spread(r, lambda g: g.gamma(3, 10, ROWS)), Order(("low", "high"))),
    "order of narrow floats": Case(
        lambda r: spread(r, lambda g: g.gamma(3, 10, ROWS), lambda v: v.astype("float32")), Order(("low", "high"))
    ),
    "order of a narrow and a wide float": Case(
        lambda r: (lambda v: {"low": v.astype("float32"), "high": v + r.gamma(3, 10, ROWS)})(r.gamma(3, 10, ROWS)),
        Order(("low", "high")),
        given=True,
    ),
    "order of text": Case(
        lambda r: spread(r, cents, lambda v: pd.Series(v).map("${:,.2f}".format)), Order(("low", "high"))
    ),
    "order of Decimals": Case(
        lambda r: spread(r, cents, lambda v: [Decimal(f"{x:.2f}") for x in v]), Order(("low", "high"))
    ),
    "order of days": Case(
        lambda r: (lambda d: {"start": d, "end": d + pd.to_timedelta(1 + whole(r) * whole(r, 0, 9), unit="D")})(
            days(r)
        ),
        Order(("start", "end"), True),
    ),
    "order of a time and a day": Case(
        lambda r: (lambda t: {"at": t, "due": t.normalize() + pd.to_timedelta(whole(r, 1, 200), unit="D")})(
            days(r) + pd.to_timedelta(whole(r, 0, 86_400), unit="s")
        ),
        Order(("at", "due")),
    ),
    "order of months": Case(
        lambda r: {
            k: pd.Series(v).astype("datetime64[ns]").dt.to_period("M")
            for k, v in spread(
                r, lambda g: whole(g, 0, 200), lambda d: days(rng_of(1)) + pd.to_timedelta(d, "D")
            ).items()
        },
        Order(("low", "high")),
    ),
    "order of durations": Case(lambda r: spread(r, whole, minutes), Order(("low", "high"))),
    "sum of whole numbers": Case(lambda r: added(r, whole), Sum(("total", "p", "q"))),
    "sum of nullable whole numbers": Case(
        lambda r: {k: pd.array(v, "Int64") for k, v in added(r, whole).items()}, Sum(("total", "p", "q"))
    ),
    "sum of cents": Case(lambda r: {k: np.round(v, 2) for k, v in added(r, cents).items()}, Sum(("total", "p", "q"))),
    "sum of tenths": Case(
        lambda r: {k: np.round(v / 10, 1) for k, v in added(r, whole).items()}, Sum(("total", "p", "q"))
    ),
    "sum of floats": Case(lambda r: added(r, lambda g: g.normal(size=ROWS)), Sum(("total", "p", "q"))),
    "sum of narrow floats": Case(
        lambda r: {k: v.astype("float32") for k, v in added(r, lambda g: g.normal(size=ROWS)).items()},
        Sum(("total", "p", "q")),
    ),
    "sum of Decimals": Case(
        lambda r: {k: [Decimal(f"{x:.2f}") for x in v] for k, v in added(r, cents).items()}, Sum(("total", "p", "q"))
    ),
    "sum of durations": Case(lambda r: {k: minutes(v) for k, v in added(r, whole).items()}, Sum(("total", "p", "q"))),
    "difference": Case(two_sums, Sum(("pay", "gross", "off"), (1, -1)), found=2),
    "date and days": Case(stay, Sum(("end", "start", "nights"), (1, 86_400))),
    "date and duration": Case(lasting, Sum(("end", "start", "wait"))),
    "parts of a hundred": Case(
        lambda r: (lambda a: {"a": a[0], "b": a[1], "c": 100 - a[0] - a[1]})((whole(r, 0, 40), whole(r, 0, 60))),
        Sum(("c", "a", "b"), (-1, -1), 100),
    ),
    "equal columns": Case(lambda r: (lambda v: {"a": v, "b": v})(cents(r)), Sum(("b", "a"))),
    "product": Case(amounts, Product(("amount", "price", "quantity"))),
    "combination of words": Case(
        lambda r: cities(r, lambda v: np.array(list("abcdefghijkl"))[v]), Combination(("city", "country"))
    ),
    "combination of codes": Case(lambda r: cities(r, lambda v: v + 1000), Combination(("city", "country"))),
    "combination with a boolean": Case(
        lambda r: (lambda v: {"code": v, "member": v > 5})(whole(r, 0, 12)), Combination(("code", "member"))
    ),
    "combination of nullable codes": Case(
        lambda r: cities(r, lambda v: pd.array(v + 1, "Int64")), Combination(("city", "country"))
    ),
    "line": Case(sensors, Line(("outside", "inside"))),
    "line of floats": Case(lambda r: sensors(r, lambda v: v), Line(("outside", "inside"))),
    "line of whole numbers": Case(
        lambda r: sensors(r, lambda v: np.round(v * 100).astype(int)), Line(("outside", "inside"))
    ),
    "line of dates": Case(
        lambda r: (lambda t: {"start": t, "end": t + pd.to_timedelta(whole(r, 0, 20), unit="D")})(days(r)),
        Line(("end", "start")),
        found=2,  # and an order
    ),
}
