"""A machine with an emulated NIC whose only program is the gateway.  Not a test itself.

    namespace of the check                            | guest: Debian's kernel, an initial RAM disk, no disk
    tap pen0  198.18.0.1  2001:db8::1  ---------------+--- NIC, bound to vfio-pci behind a virtual IOMMU: penstock
    127.0.0.1:2379 (etcd)  <--- 198.19.0.2:2379 ------+--- virtio-net of the guest's kernel, 198.19.0.15:
    127.0.0.1:9901 --- 198.19.0.15:9901 --------------+--> the control plane's (QEMU's own user network)

Everything is emulated in software (TCG), whatever the machine offers.  tests/nic/fetch has brought kernel and QEMU."""
import json
import os
import re
import socket
import subprocess

MODULES = ["failover", "net_failover", "virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_net",
           "irqbypass", "vfio", "vfio_virqfd", "vfio_iommu_type1", "vfio-pci-core", "vfio-pci"]
PMDS = ["bus_pci", "bus_vdev", "mempool_ring", "net_e1000", "net_virtio"]
NIC_PCI = "0000:00:05.0"

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
chmod 755 /
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/hugepages && mount -t hugetlbfs huge /dev/hugepages
echo vfio-pci >/sys/bus/pci/devices/{pci}/driver_override
for m in {modules}; do insmod /modules/$m.ko || echo "no module $m"; done
ip link set lo up
ip addr add 198.19.0.15/24 dev eth0
ip link set eth0 up
echo "guest: hugepages $(cat /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages), {pci} bound to $(basename $(readlink /sys/bus/pci/devices/{pci}/driver))"
/penstock -c /penstock.conf
echo "guest: penstock ended with status $?"
poweroff -f
"""


class Archive:
    """An initial RAM disk: cpio in its "newc" form, of regular files, directories and links."""

    def __init__(self):
        self.parts, self.known, self.number = [], set(), 0

    def entry(self, path, mode, data):
        if path in self.known:
            return
        if os.path.dirname(path):
            self.entry(os.path.dirname(path), 0o40755, b"")
        self.known.add(path)
        self.number += 1
        fields = [self.number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path) + 1, 0]
        head = b"070701" + b"".join(b"%08x" % f for f in fields) + path.encode() + b"\0"
        self.parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]

    def add(self, path, data, mode=0o755):
        self.entry(path.lstrip("/"), 0o100000 | mode, data)

    def link(self, path, to):
        self.entry(path.lstrip("/"), 0o120777, to.encode())

    def copy(self, source, path=None):
        with open(source, "rb") as file:
            self.add(path or source, file.read())

    def write(self, path):
        self.entry("TRAILER!!!", 0, b"")
        with open(path, "wb") as file:
            file.write(b"".join(self.parts))


def libraries_of(program):
    """Every library that the loader would find for it, by the path at which it would."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return re.findall(r"(/\S+) \(0x", said)


def pmd_directory():
    directory = subprocess.run(["pkg-config", "--variable=libdir", "libdpdk"], capture_output=True, text=True, check=True).stdout.strip() + "/dpdk"
    return f"{directory}/{sorted(os.listdir(directory))[-1]}"


def disk(path, gateway, kernel, config):
    archive = Archive()
    for directory in ("dev", "proc", "sys", "tmp", "run", "var/run", "etc"):
        archive.entry(directory, 0o40755, b"")
    archive.add("init", INIT.format(modules=" ".join(MODULES), pci=NIC_PCI).encode())
    archive.add("penstock.conf", config.encode())
    archive.copy("/bin/busybox")
    for module in MODULES:
        archive.copy(f"{kernel}/modules/{module}.ko", f"modules/{module}.ko")
    pmds, libraries = pmd_directory(), set(libraries_of(gateway)) | {"/lib/x86_64-linux-gnu/libgcc_s.so.1"}  # pthread_cancel() asks for it
    for name in PMDS:
        # A link, as the loader tells files apart by their number: a driver and the same file as a library must be one.
        library = next(l for l in os.listdir(os.path.dirname(os.path.dirname(pmds))) if re.fullmatch(rf"librte_{name}\.so\.\d+", l))
        library = f"{os.path.dirname(os.path.dirname(pmds))}/{library}"
        archive.link(f"{pmds}/librte_{name}.so", library)
        libraries.update([library] + libraries_of(library))
    for library in sorted(os.path.realpath(os.path.dirname(l)) + "/" + os.path.basename(l) for l in libraries):
        archive.copy(library)
    archive.link("lib", "usr/lib")
    archive.link("lib64", "usr/lib64")
    stripped = path + ".gateway"
    subprocess.run(["strip", "-o", stripped, gateway], check=True)
    archive.copy(stripped, "penstock")
    os.unlink(stripped)
    archive.write(path)


class Guest:
    """QEMU, with one NIC of the kind that `nic` names, on the tap pen0 of this namespace."""

    KINDS = {
        "igb": ("tap,id=n0,ifname=pen0,script=no,downscript=no,vnet_hdr=off", "igb,romfile=,netdev=n0,addr=5.0,mac=52:54:00:99:00:02"),
        "virtio": ("tap,id=n0,ifname=pen0,script=no,downscript=no,queues=2,vhost=off",
                   "virtio-net-pci,romfile=,netdev=n0,addr=5.0,mac=52:54:00:99:00:02,mq=on,vectors=10,rss=on,hash=on,iommu_platform=on,disable-legacy=on"),
    }

    def __init__(self, work, gateway, kernel, nic, config, hugepages, log):
        self.work, self.monitor_path = work, f"{work}/monitor"
        self.log = log
        image = f"{work}/initrd"
        disk(image, gateway, kernel, config)
        netdev, device = self.KINDS[nic]
        tap = ["ip", "tuntap", "add", "pen0", "mode", "tap"] + (["multi_queue"] if "queues=" in netdev else [])
        subprocess.run(tap, check=True)
        words = f"console=ttyS0 panic=-1 quiet mitigations=off no_timer_check nohz=off tsc=reliable hugepages={hugepages} intel_iommu=on"
        command = ["qemu-system-x86_64", "-M", "q35,kernel-irqchip=split", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "768",
                   "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", f"{kernel}/vmlinuz", "-initrd", image,
                   "-append", words, "-device", "intel-iommu,intremap=on,caching-mode=on,device-iotlb=on",
                   "-qmp", f"unix:{self.monitor_path},server=on,wait=off", "-netdev", netdev, "-device", device,
                   "-netdev", "user,id=m0,ipv6=off,net=198.19.0.0/24,host=198.19.0.2,hostfwd=tcp:127.0.0.1:9901-198.19.0.15:9901",
                   "-device", "virtio-net-pci,romfile=,netdev=m0,addr=6.0"]
        with open(log, "wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL)

    def poll(self):
        return self.process.poll()

    def end(self):
        self.process.kill()
        self.process.wait()
        subprocess.run(["ip", "link", "del", "pen0"], check=True)

    def monitor(self, command, **arguments):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.monitor_path)
            stream = connection.makefile("rw")
            stream.readline()
            for execute in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                stream.write(json.dumps(execute) + "\n")
                stream.flush()
                answer = json.loads(stream.readline())
                while "event" in answer:
                    answer = json.loads(stream.readline())
        return answer

    def link(self, up):
        return self.monitor("set_link", name="n0", up=up)
