# SPDX-License-Identifier: GPL-2.0
#
# Draw the counts of each group. Run gnuplot in the directory of the files GROUP.dat.

set terminal pngcairo noenhanced size 960,600 font "DejaVu Sans,11"
set grid
set key top left
set style data linespoints
set logscale x

set xlabel "files on XFS that share the page"
set output "notify.png"
set multiplot layout 2,1 title "From a memory failure to SIGBUS"
set logscale y
set ylabel "guest instructions"
set format y "%.0s%c"
plot "notify.dat" using 1:2 title "daxmf_pmem"

unset logscale y
set ylabel "ratio"
set format y "%.2f"
set yrange [0.98:*]
set key top right
plot "notify.dat" using 1:($2/$3) title "daxmf_pmem to nd_pmem", \
     "linear.dat" using 1:($2/$3) title "dm-linear with daxmf_stack to the bare disk"
unset multiplot

set output "walk.png"
set title "From a memory failure to SIGBUS, with a walk over another volume first"
set xlabel "segments of the other volume"
set ylabel "guest instructions"
set format y "%.0s%c"
set yrange [*:*]
set logscale y
unset key
plot "walk.dat" using 1:2
