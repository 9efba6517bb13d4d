#!/bin/sh
# Runs tests of a built test program on an emulated processor, for instructions that the one at hand
# does not have, such as AVX512-BF16 or AMX:
#
#   cargo test -p omnizap-models --lib --no-run         # prints the program's path
#   models/tests/emulated.sh PROGRAM [TEST...]          # those whose names hold one of the words
#
# Bochs emulates a whole machine: a Linux kernel starts with the program in its first file system, and
# what it says comes over the serial line. Bochs must be 3.0 or later, whose Sapphire Rapids has the
# instructions; where only an older one is packaged, its source builds in minutes:
#   ./configure --with-nogui --enable-x86-64 --enable-cpu-level=6 --enable-avx --enable-evex \
#     --enable-amx --enable-pci --disable-plugins && make
# Of 3.0 itself two lines must be mended first. In cpu/decoder/ia_opcodes_evex.def, VDPBF16PS reads a
# whole vector from memory, OP_mVps, not OP_mVdq32, by which it takes a short displacement for a
# sixteenth of what it is. And in cpu/cpuid.cc the leaf of XSAVE should say XFD (leaf->eax |= 1 << 4,
# subfunction 1), without which Linux lets nobody use the tiles of AMX, and this one does not start.
# On Debian the rest is
#   apt-get install bochsbios vgabios busybox-static isolinux syslinux-common xorriso cpio
#   apt-get download linux-image-$VERSION-cloud-amd64 && dpkg -x linux-image-*.deb kernel
#
# BOCHS, KERNEL, CPU and BIOS name others; MINUTES is how long it may take (30). Ends as the tests do.
set -eu

BOCHS=${BOCHS:-bochs}
KERNEL=${KERNEL:-$(ls kernel/boot/vmlinuz-* 2>/dev/null | tail -1)}
CPU=${CPU:-sapphire_rapids}
BIOS=${BIOS:-/usr/share/bochs}
MINUTES=${MINUTES:-30}
[ $# -gt 0 ] && [ -f "$KERNEL" ] || { sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
program=$1
shift

folder=$(mktemp -d)
bochs=
trap '[ -z "$bochs" ] || kill "$bochs" 2>/dev/null; rm -rf "$folder"' EXIT INT TERM

# The first file system: a shell, the program and the libraries that it names.
root=$folder/root
mkdir -p "$root/bin" "$root/proc" "$root/dev" "$root/tmp"
cp "$(command -v busybox)" "$root/bin/busybox"
strip -o "$root/program" "$program"
ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root${library%/*}"
    cp "$library" "$root$library"
done
cat >"$root/init" <<INIT
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
export RUST_BACKTRACE=1 RAYON_NUM_THREADS=1
/bin/busybox tr ' ' '\\n' </proc/cpuinfo | /bin/busybox grep -x 'avx512_bf16\|amx_bf16' | /bin/busybox sort -u
/program --test-threads=1 $*
echo "ended with \$?."
/bin/busybox sleep 1000
INIT
chmod +x "$root/init"

# A disc that starts it. Under all that the processor has, Linux 6.1 faults before its first process.
without=rdpid,umip,serialize,waitpkg,fsrm,pku,ibt,shstk
disc=$folder/disc
mkdir -p "$disc/isolinux"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$disc/isolinux/"
cp "$KERNEL" "$disc/linux"
(cd "$root" && find . | cpio --quiet -o -H newc) >"$disc/initrd"
cat >"$disc/isolinux/isolinux.cfg" <<CONFIG
default it
label it
  kernel /linux
  append initrd=/initrd console=ttyS0 quiet nokaslr mitigations=off panic=1 oops=panic no5lvl nopku nopcid noinvpcid clearcpuid=$without
CONFIG
xorriso -as mkisofs -quiet -o "$folder/disc.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
    -no-emul-boot -boot-load-size 4 -boot-info-table "$disc" 2>"$folder/xorriso.txt"

cat >"$folder/bochsrc" <<CONFIG
display_library: nogui
cpu: model=$CPU, count=1, ips=20000000, reset_on_triple_fault=0
memory: guest=512, host=512
romimage: file=$BIOS/BIOS-bochs-latest
vgaromimage: file=$BIOS/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path=$folder/disc.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$folder/serial.txt
clock: sync=none
log: $folder/bochs.txt
panic: action=fatal
error: action=report
info: action=ignore
CONFIG
: >"$folder/serial.txt"
"$BOCHS" -q -f "$folder/bochsrc" >"$folder/out.txt" 2>&1 </dev/null &
bochs=$!
seconds=0
until grep -q '^ended with [0-9]*\.' "$folder/serial.txt"; do
    if ! kill -0 "$bochs" 2>/dev/null || [ $seconds -gt $((MINUTES * 60)) ]; then
        cat "$folder/serial.txt"
        tail -n 20 "$folder/bochs.txt" "$folder/out.txt" >&2
        echo "the emulation did not come to its end" >&2
        exit 3
    fi
    sleep 1
    seconds=$((seconds + 1))
done
cat "$folder/serial.txt"
exit "$(sed -n 's/^ended with \([0-9]*\)\..*/\1/p' "$folder/serial.txt")"
