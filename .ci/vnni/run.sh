#!/usr/bin/env bash
# Runs a static program in Bochs, an emulated PC with AVX-512 VNNI, as real machine code:
#
#   cmake --build --preset dev --target levels && .ci/vnni/run.sh build/dev/levels
#
# Needs: apt packages bochs bochs-term isolinux syslinux-common xorriso. Ends with 0 if the program did, with 1 if it failed
# or crashed, with 2 if the emulated PC never came to start it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

flags=(-O1 -ffreestanding -fno-stack-protector -fno-pic -mno-red-zone -mgeneral-regs-only -fno-tree-loop-distribute-patterns)
gcc "${flags[@]}" -Wall -Wextra -Werror -c "$here/kernel.c" -o kernel.o
gcc -c "$here/start.S" -o start.o
ld -n --no-warn-rwx-segments -T "$here/kernel.ld" -o kernel.elf start.o kernel.o
mkdir -p disc/isolinux
objcopy -O elf32-i386 kernel.elf disc/kernel
strip -o disc/program "$program"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/{ldlinux.c32,mboot.c32,libcom32.c32} disc/isolinux
printf 'DEFAULT run\nPROMPT 0\nLABEL run\n KERNEL mboot.c32\n APPEND /kernel --- /program\n' >disc/isolinux/isolinux.cfg
xorriso -as mkisofs -quiet -o disc.iso -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot -boot-load-size 4 \
  -boot-info-table disc 2>xorriso.log || { cat xorriso.log; exit 2; }

# Without sound: Debian's Bochs dies of it where there is no sound card.
cat >bochsrc <<END
display_library: term
megs: 1024
cpu: model=corei7_icelake_u, count=1, ips=50000000, reset_on_triple_fault=0
clock: sync=none
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
boot: cdrom
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=disc.iso, status=inserted
sound: waveoutdrv=dummy, waveout=none, waveindrv=dummy, midioutdrv=dummy
speaker: enabled=0
plugin_ctrl: speaker=0, es1370=0, sb16=0, gameport=0
port_e9_hack: enabled=1
panic: action=fatal
log: bochs.log
END
echo c >continue
export TERM=${TERM:-xterm}
[ "$TERM" != dumb ] || TERM=xterm
timeout "${LIGHTKERN_VNNI_SECONDS:-900}" script -qec "bochs -q -f bochsrc -rc continue" /dev/null </dev/null >screen 2>&1 || true
tr -d '\r' <screen | grep -a -E '^(program starts|level |all levels|FAILED|ended: )' >said || true
cat said
if grep -q '^ended: success' said; then
  exit 0
elif grep -q '^program starts' said; then
  echo "the program failed or crashed in the emulated PC:" && grep -a -E 'exception|RIP' bochs.log | head -5
  exit 1
fi
echo "the emulated PC did not start the program:" && tail -c 500 screen && tail -5 bochs.log
exit 2
