"""How fast usage is rated: lines a second and memory, beside a plain loop, raw inflating and pandas.

    python -m bench.usage                       # 2 M lines, some minutes
    python -m bench.usage --growth 10000000     # and five times as many, for growth and memory
    python -m bench.usage --lines 200000        # a quick look

Lines are generated with the full set of attributes (about 1.9 kB each, 40 000 a file, gzip) into a
folder that is kept for the next time. In one run, one after the other and again:

- the reference: gzip, json and Decimal in a plain loop on one core (`bench/plain_loop.py`), on a
  tenth of the files, since it is linear; its bytes are compared on the whole of those;
- the floor: igzip and nothing else, on two cores;
- the engine on two cores, once bare, once with every line annotated to Parquet;
- pandas `read_json` and `groupby` on a few files.

Ratios are printed, and nothing fails on a time.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PER_FILE = 40_000
CUSTOMERS = 2000
FAMILIES = (
    "Virtual Machines",
    "Storage",
    "Bandwidth",
    "Azure App Service",
    "SQL Database",
    "Azure Kubernetes Service",
    "Log Analytics",
    "Azure Cosmos DB",
    "Key Vault",
    "Virtual Network",
    "Backup",
    "Azure Monitor",
)
CORES = 2


# --- the lines -----------------------------------------------------------------------------------


def guid(*meaning: object) -> str:
    """Make a GUID from what it is for, so that the same run makes the same lines."""
    digits = hashlib.md5(repr(meaning).encode(), usedforsecurity=False).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def a_line(chance: random.Random) -> str:
    """Make one line of the full set; few of a customer's meters make most of its lines."""
    customer = chance.randrange(CUSTOMERS)
    meter = min(int(chance.expovariate(0.35)), 59)
    family = FAMILIES[meter % len(FAMILIES)]
    azure = guid("azure", customer, chance.randrange(3))
    group, machine = chance.randrange(12), chance.randrange(400)
    price = chance.randrange(1, 9_999_999) / 10_000_000
    quantity = round(chance.random() * 24, chance.choice((6, 12, 14)))
    credit = chance.random() < 0.01
    cost = round(-price * quantity if credit else price * quantity * 0.85, chance.choice((2, 12)))
    line = {
        "PartnerId": "aaaa1111-2222-4333-8444-bbbb5555cccc",
        "PartnerName": "Contoso Cloud",
        "CustomerId": guid("customer", customer),
        "CustomerName": f"Customer {customer} Limited",
        "CustomerDomainName": f"customer{customer}.onmicrosoft.com",
        "CustomerCountry": "US",
        "MpnId": "4391507",
        "Tier2MpnId": "0",
        "InvoiceNumber": "G000912345",
        "ProductId": f"DZH318Z0{meter:04}",
        "SkuId": f"00{meter:02}",
        "AvailabilityId": "DZH318Z0BBBB",
        "SkuName": f"{family} sku {meter}",
        "ProductName": f"{family} product {meter}",
        "PublisherName": "Microsoft",
        "PublisherId": "",
        "SubscriptionDescription": "Azure plan",
        "SubscriptionId": guid("plan", customer),
        "ChargeStartDate": "2026-10-01T00:00:00Z",
        "ChargeEndDate": "2026-10-31T23:59:59Z",
        "UsageDate": f"2026-10-{chance.randrange(1, 32):02}T00:00:00Z",
        "MeterType": "1 Compute Hour",
        "MeterCategory": family,
        "MeterId": guid("meter", meter),
        "MeterSubCategory": f"{family} series {meter % 7}",
        "MeterName": f"{family} meter {meter}",
        "MeterRegion": "EU West",
        "Unit": "1 Hour",
        "ResourceLocation": "EUWEST",
        "ConsumedService": "Microsoft.Compute",
        "ResourceGroup": f"rg-application-{group}",
        "ResourceURI": f"/subscriptions/{azure}/resourceGroups/rg-application-{group}"
        f"/providers/Microsoft.Compute/virtualMachines/machine-{machine}",
        "ChargeType": "customerCredit" if credit else "new",
        "UnitPrice": price,
        "Quantity": quantity,
        "UnitType": "1 Hour",
        "BillingPreTaxTotal": cost,
        "BillingCurrency": "EUR" if customer % 4 == 0 else "USD",
        "PricingPreTaxTotal": price * quantity,
        "PricingCurrency": "USD",
        "ServiceInfo1": "",
        "ServiceInfo2": "",
        "Tags": f'{{"env":"prod","CostCenter":"cc-{machine % 17}"}}',
        "AdditionalInfo": '{"ServiceType":"Standard_D4s_v5","VCPUs":4,"ImageType":"Canonical"}',
        "EffectiveUnitPrice": price * 0.85,
        "PCToBCExchangeRate": 1.0,
        "PCToBCExchangeRateDate": "2026-10-31T00:00:00Z",
        "EntitlementId": azure,
        "EntitlementDescription": f"Subscription of customer {customer}",
        "PartnerEarnedCreditPercentage": 15,
        "CreditPercentage": 0,
        "CreditType": "Not Applicable",
        "BenefitOrderID": "",
        "BenefitID": "",
        "BenefitType": "Charge",
    }
    return json.dumps(line, separators=(",", ":"))


def a_file(place: tuple[Path, int]) -> int:
    """Write one file unless it is there; returns the bytes of its lines."""
    path, number = place
    size = path.with_suffix(".size")
    if not size.exists():
        chance = random.Random(number)  # noqa: S311 - the same lines each time
        text = "".join(f"{a_line(chance)}\n" for _ in range(PER_FILE)).encode()
        path.write_bytes(gzip.compress(text, 6, mtime=0))
        size.write_text(str(len(text)))
    return int(size.read_text())


def make(folder: Path, lines: int) -> tuple[list[Path], int]:
    """Make the files of an export; returns them and the bytes of all lines."""
    folder.mkdir(parents=True, exist_ok=True)
    places = [(folder / f"part-{n:05}.json.gz", n) for n in range(-(-lines // PER_FILE))]
    with ProcessPoolExecutor(CORES) as pool:
        return [path for path, _ in places], sum(pool.map(a_file, places))


def rules() -> list[dict[str, Any]]:
    """A default, rules for families, for customers and for both; one changes in mid-month."""
    found: list[dict[str, Any]] = [
        {"id": "default", "customer": None, "family": None, "percent": "12.5"},
        {"id": "storage", "customer": None, "family": "Storage", "percent": "7.25"},
    ]
    for customer in range(0, CUSTOMERS, 20):
        own = {"customer": guid("customer", customer), "percent": str(5 + customer % 17)}
        found.append({"id": f"c{customer}", "family": None, **own})
        if customer % 100 == 0:
            found.append({"id": f"c{customer}s", "family": "Storage", **own, "to": "2026-10-16"})
    return [{"from": "2026-01-01", "to": None} | rule for rule in found]


# --- what is compared ----------------------------------------------------------------------------


def inflate(path: Path) -> int:
    """The floor: inflate a file and look at nothing."""
    from isal import igzip

    size = 0
    with igzip.open(path, "rb") as packed:
        while block := packed.read(1 << 18):
            size += len(block)
    return size


def with_pandas(paths: Sequence[Path]) -> Any:
    """Do what is done with pandas; it reads through doubles."""
    import pandas as pd

    keys = [
        "BillingCurrency",
        "CustomerId",
        "SubscriptionId",
        "ProductId",
        "MeterCategory",
        "MeterId",
    ]
    frames = (pd.read_json(path, lines=True, compression="gzip") for path in paths)
    sums = [
        frame.groupby(keys)[["Quantity", "BillingPreTaxTotal"]].agg(["count", "sum"])
        for frame in frames
    ]
    return pd.concat(sums).groupby(level=keys).sum()


@dataclass
class Timed:
    """The best of what was measured."""

    seconds: float = float("inf")
    cpu: float = 0.0
    answer: Any = None

    def measure(self, work: Callable[[], Any]) -> None:
        """Run it once more and keep it if it was faster."""
        before, started = _cpu(), time.perf_counter()
        answer = work()
        seconds = time.perf_counter() - started
        if isinstance(answer, dict) and "seconds" in answer:
            seconds = float(answer["seconds"])  # as of the others, without the interpreter's start
        if seconds < self.seconds:
            self.seconds, self.cpu, self.answer = seconds, _cpu() - before, answer


def _cpu() -> float:
    own, gone = (
        resource.getrusage(resource.RUSAGE_SELF),
        resource.getrusage(resource.RUSAGE_CHILDREN),
    )
    return own.ru_utime + own.ru_stime + gone.ru_utime + gone.ru_stime


def engine(
    folder: Path,
    rule_file: Path,
    out: Path,
    *,
    annotate: bool = False,
    memory_mb: int = 512,
    threads: int = CORES,
) -> dict[str, Any]:
    """Run the command in a process of its own, as anybody would; its answer with its peak memory."""
    more = ["--annotate", str(out.with_name("annotated"))] if annotate else []
    probe = (
        "import re, sys; from app.cli import main; code = main(sys.argv[1:]);"
        # ru_maxrss would be that of the process that started this one, where that was larger
        " print('PEAK', re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1],"
        " file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-c", probe, "rate-usage", str(folder)),
            *("--rules", str(rule_file), "--out", str(out), "--scratch", str(out.parent)),
            *("--memory", str(memory_mb), "--threads", str(threads), "--json", *more),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"rate-usage ended with {done.returncode}: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    answer["peak_mb"] = int(done.stderr.rsplit("PEAK ", 1)[1].split()[0]) / 1024
    return answer


def _linked(paths: Sequence[Path], folder: Path) -> Path:
    folder.mkdir()
    for path in paths:
        (folder / path.name).symlink_to(path.resolve())
    return folder


def main() -> int:
    """Generate, run all of it, print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", type=int, default=2_000_000)
    parser.add_argument("--growth", type=int, default=0, help="lines of a second, larger run")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--data", type=Path, default=Path(tempfile.gettempdir()) / "csp-billing-bench"
    )
    options = parser.parse_args()
    from bench import plain_loop

    told = rules()
    paths, size = make(options.data, options.lines)
    lines = len(paths) * PER_FILE
    some = paths[: max(1, len(paths) // 10)]
    print(f"{lines:,} lines of {size / lines:.0f} bytes in {len(paths)} files, rules: {len(told)}")
    with tempfile.TemporaryDirectory(dir=options.data, prefix="run-") as name:
        here = Path(name)
        rule_file = here / "rules.json"
        rule_file.write_text(json.dumps(told))
        whole, few = _linked(paths, here / "whole"), _linked(some, here / "few")
        reference, floor, bare, annotated, frames = (Timed() for _ in range(5))
        with ProcessPoolExecutor(CORES) as pool:
            sum(pool.map(inflate, some))  # the processes start
            for _ in range(options.rounds):
                reference.measure(lambda: plain_loop.rate(some, told))
                floor.measure(lambda: sum(pool.map(inflate, paths)))
                bare.measure(lambda: engine(whole, rule_file, here / "out.tsv"))
                annotated.measure(lambda: engine(whole, rule_file, here / "out.tsv", annotate=True))
        check = engine(few, rule_file, here / "few.tsv")
        same = (here / "few.tsv").read_bytes() == reference.answer[0]
        frames.measure(lambda: with_pandas(some[:5]))
        small = engine(whole, rule_file, here / "small.tsv", memory_mb=256, threads=1)
        reference_rate = len(some) * PER_FILE / reference.seconds
        rate, floor_rate = lines / bare.seconds, lines / floor.seconds
        pandas_rate = len(some[:5]) * PER_FILE / frames.seconds
        rows = (
            ("reference, one core", reference_rate, ""),
            ("floor: igzip alone", floor_rate, ""),
            (
                "engine",
                rate,
                f"{bare.answer['peak_mb']:.0f} MB, {bare.cpu / lines * 1e6:.2f} us of processor a line",
            ),
            (
                "engine, every line annotated",
                lines / annotated.seconds,
                f"{annotated.answer['peak_mb']:.0f} MB",
            ),
            ("engine, 256 MB, one thread", lines / small["seconds"], f"{small['peak_mb']:.0f} MB"),
            ("pandas", pandas_rate, ""),
        )
        for what, figure, more in rows:
            print(f"{what:32}{figure:>14,.0f} lines/s  {more}")
        equal = len({bare.answer["sha256"], annotated.answer["sha256"], small["sha256"]}) == 1
        print(f"bytes equal to the reference's on {len(some) * PER_FILE:,} lines: {same}")
        print(f"bytes equal bare, annotated and with 256 MB on {lines:,} lines: {equal}")
        print(
            f"invoice lines: {bare.answer['invoice_lines']:,} (of the reference: {check['invoice_lines']:,})"
        )
        print(
            f"x reference {rate / reference_rate:.1f}   of floor {rate / floor_rate:.2f}"
            f"   annotated / bare {annotated.seconds / bare.seconds:.2f}   x pandas {rate / pandas_rate:.1f}"
        )
        shutil.rmtree(here / "annotated")
        if options.growth:
            more, _ = make(options.data, options.growth)
            larger = Timed()
            large = _linked(more, here / "large")
            larger.measure(lambda: engine(large, rule_file, here / "large.tsv"))
            ratio = larger.seconds / bare.seconds
            print(
                f"{len(more) * PER_FILE:,} lines: {larger.seconds:.1f} s, {ratio:.2f} times the time of"
                f" {lines:,}, {larger.answer['peak_mb']:.0f} MB, {larger.answer['invoice_lines']:,} invoice lines"
            )
            limited = engine(large, rule_file, here / "limited.tsv", memory_mb=256)
            print(
                f"with 256 MB: {limited['seconds']:.1f} s, {limited['peak_mb']:.0f} MB, bytes equal:"
                f" {limited['sha256'] == larger.answer['sha256']}"
            )
    return 0 if same and equal else 1


if __name__ == "__main__":
    sys.exit(main())
