"""A machine as the kernel shows it: real files in a made folder."""

from pathlib import Path


class Machine:
    """The parts of /sys and /proc that a test gives; what it does not give is not there."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def file(self, path: str, text: str | int) -> Path:
        made = self.root / path
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(f"{text}\n")
        return made

    def zone(self, number: int, type: str, temperature_mc: int, *trips: tuple[str, int]) -> None:
        folder = f"sys/class/thermal/thermal_zone{number}"
        self.file(f"{folder}/type", type)
        self.file(f"{folder}/temp", temperature_mc)
        for at, (kind, at_mc) in enumerate(trips):
            self.file(f"{folder}/trip_point_{at}_type", kind)
            self.file(f"{folder}/trip_point_{at}_temp", at_mc)

    def processor(self, number: int, allowed_khz: int, possible_khz: int) -> None:
        folder = f"sys/devices/system/cpu/cpufreq/policy{number}"
        self.file(f"{folder}/scaling_max_freq", allowed_khz)
        self.file(f"{folder}/cpuinfo_max_freq", possible_khz)

    def firmware(self, flags: int) -> None:
        self.file("sys/devices/platform/soc/soc:firmware/get_throttled", f"{flags:x}")

    def stalled(self, percent: float) -> None:
        text = (
            f"some avg10={percent:.2f} avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0"
        )
        self.file("proc/pressure/memory", text)

    def memory(self, total_kb: int, available_kb: int) -> None:
        self.file(
            "proc/meminfo", f"MemTotal: {total_kb} kB\nMemFree: 1 kB\nMemAvailable: {available_kb} kB\nBuffers: 1 kB"
        )
