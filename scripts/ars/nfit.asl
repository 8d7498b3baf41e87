/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The NFIT of PMEM=ars, in the data table language of iasl: one range of persistent memory, on one
 * DIMM. scripts/qemu reserves this range by memmap=.
 */
Signature : "NFIT"
Table Length : 00000000
Revision : 01
Checksum : 00
Oem ID : "DAXMF "
Oem Table ID : "ARS     "
Oem Revision : 00000001
Asl Compiler ID : "INTL"
Asl Compiler Revision : 00000000
Reserved : 00000000

Subtable Type : 0000
Length : 0040
Range Index : 0001
Flags (decoded below) : 0004
Add/Online Operation Only : 0
Proximity Domain Valid : 0
Location Cookie Valid : 1
Reserved : 00000000
Proximity Domain : 00000000
Region Type GUID : 66F0D379-B4F3-4074-AC43-0D3318B78CDB
Address Range Base : 0000000020000000
Address Range Length : 0000000020000000
Memory Map Attribute : 0000000000008008
Location Cookie : 0000000000000000

Subtable Type : 0001
Length : 0030
Device Handle : 00000001
Physical Id : 0001
Region Id : 0001
Range Index : 0001
Control Region Index : 0001
Region Size : 0000000020000000
Region Offset : 0000000000000000
Address Region Base : 0000000000000000
Interleave Index : 0000
Interleave Ways : 0001
Flags : 0000
Save to device failed : 0
Restore from device failed : 0
Platform flush failed : 0
Device not armed : 0
Health events observed : 0
Health events enabled : 0
Mapping failed : 0
Reserved : 0000

Subtable Type : 0004
Length : 0050
Region Index : 0001
Vendor Id : 8086
Device Id : 2017
Revision Id : 0001
Subsystem Vendor Id : 8086
Subsystem Device Id : 2017
Subsystem Revision Id : 0001
Valid Fields : 00
Manufacturing Location : 00
Manufacturing Date : 0000
Reserved : 0000
Serial Number : 76540089
Code : 0301
Window Count : 0000
Window Size : 0000000000000000
Command Offset : 0000000000000000
Command Size : 0000000000000000
Status Offset : 0000000000000000
Status Size : 0000000000000000
Flags : 0000
Windows buffered : 0
Reserved1 : 000000000000
