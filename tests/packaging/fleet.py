"""A fleet server of an installed package at work: it enrols a device, and publishes two releases onto sticks.

What it leaves is all that a device without a network needs, whatever its architecture.
"""

from pathlib import Path

from tests.packaging.system import System

MODEL = "/usr/lib/littoral/agent/runtime/engines/selftest.tflite"
NAME = "small"
DEVICE = "edge-1"

SETTINGS = """
[updates]
jitter_s = 0

[runtime]
trial_timeout_s = 600

[probation]
healthy_s = 1
answers = 0
canary_s = 1
"""

_STORY = f"""
set -e
cd /srv
printf 'correct horse battery' > passphrase
export LITTORAL_PASSPHRASE_FILE=/srv/passphrase
littoral-fleet init /var/lib/littoral-fleet --keys keys
setpriv --reuid=littoral-fleet --regid=littoral-fleet --clear-groups \\
    littoral-fleet serve --data /var/lib/littoral-fleet > server.log 2>&1 &
export LITTORAL_SERVER=http://127.0.0.1:8080 LITTORAL_TOKEN=$(cat /var/lib/littoral-fleet/admin-token)
tries=0
until littoral-fleet devices > /dev/null 2>&1; do
    tries=$((tries + 1)); [ $tries -lt 150 ] || {{ cat server.log; exit 1; }}; sleep 0.2
done
littoral-agent enroll --server $LITTORAL_SERVER --token "$(littoral-fleet token create | tail -n 1)" \\
    --state /srv/device --name {DEVICE}
python3 -c '
import numpy
a = numpy.linspace(-1, 1, 32, dtype=numpy.float32).reshape(8, 1, 4)
b = numpy.arange(64, dtype=numpy.int8).reshape(8, 1, 8)
numpy.savez("inputs.npz", a=a, b=b)'
for release in 1 2; do
    littoral-fleet bundle build --model {MODEL} --name {NAME} --release $release --version v$release \\
        --golden-inputs inputs.npz --out bundle-$release
    littoral-fleet publish bundle-$release --keys keys
    littoral-fleet export stick-$release --model {NAME}
done
"""


def run(server: System) -> Path:
    """The folder with `device`, its state after enrolment, and `stick-1` and `stick-2`."""
    server.run("sh", "-c", _STORY)
    config = server.shared / "device/agent.toml"
    config.write_text(config.read_text() + SETTINGS)
    return server.shared
