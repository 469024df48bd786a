# SPDX-License-Identifier: MIT
# Runs in a guest: the tests of suspending, from a copy of the project in memory. 9p, through which
# the guest sees the host's folders, does not come back once its device was suspended; and the
# guest's init is on one. So this tells the status and switches the machine off by itself.

set -e
copy=/tmp/project
mkdir -p "$copy"
cp -r pyproject.toml python tests scripts "$copy"
cp -r "$DMABUF_SYNC_MODULES" /tmp/modules
project=$(pwd)
cd "$copy"
umount -l "$project" /run/session
export DMABUF_SYNC_SUSPEND=1 DMABUF_SYNC_MODULES=/tmp/modules PYTHONPATH=$copy/python
status=0
python3 -m pytest -m slow tests/system/hostile/test_storms.py -k suspend -p no:cacheprovider || status=$?
echo $status >/dev/virtio-ports/virtme.ret
echo o >/proc/sysrq-trigger
sleep 60
