/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The firmware of PMEM=ars: an NVDIMM root device that supports scrubs and ndctl inject-error, and
 * a DIMM that supports ndctl inject-smart. The functions are those of ACPI 6.5, 9.20.7 (NVDIMM root
 * device) and of Intel's DSM interface (DIMM). Their arguments and results are packed structures,
 * see include/uapi/linux/ndctl.h and ndctl's ndctl-nfit.h.
 */
DefinitionBlock ("", "SSDT", 2, "DAXMF", "ARS", 1)
{
	Scope (\_SB)
	{
		Device (NVDR)
		{
			Name (_HID, "ACPI0012")

			// The list of errors, BADU, has the addresses of bad units of UNIT bytes,
			// in no order. A report merges adjacent units that are consecutive in BADU.
			Name (UNIT, 256)
			Name (ROOM, 2048)
			Name (BADU, Package (2048) {})
			Name (NBAD, 0)

			// The duration of a scrub, in units of 100 ns: 2 s.
			Name (TAKE, 20000000)
			// The last scrub: whether there was one, its end, and its arguments.
			Name (BEGN, 0)
			Name (ENDS, 0)
			Name (SADR, 0)
			Name (SLEN, 0)
			Name (STYP, 0)

			// Add an address range to the list. Returns 0, or 1 if the list is full.
			Method (ADDR, 2, Serialized)
			{
				Local0 = Arg0 & ~(UNIT - 1)
				While (Local0 < Arg0 + Arg1)
				{
					If (Match (BADU, MEQ, Local0, MTR, 0, 0) == Ones)
					{
						If (NBAD == ROOM) { Return (1) }
						BADU [NBAD] = Local0
						NBAD++
					}
					Local0 += UNIT
				}
				Return (0)
			}

			// Remove an address range from the list. The last entry fills the gap.
			Method (REMV, 2, Serialized)
			{
				Local0 = Match (BADU, MGE, Arg0 & ~(UNIT - 1), MLT, Arg0 + Arg1, 0)
				While (Local0 != Ones)
				{
					NBAD--
					BADU [Local0] = DerefOf (BADU [NBAD])
					BADU [NBAD] = 0
					Local0 = Match (BADU, MGE, Arg0 & ~(UNIT - 1), MLT, Arg0 + Arg1, Local0)
				}
			}

			// Store a record, address and length, in a buffer at an offset.
			Method (RECD, 4, Serialized)
			{
				CreateQWordField (Arg0, Arg1, A)
				CreateQWordField (Arg0, Arg1 + 8, L)
				A = Arg2
				L = Arg3
			}

			// Store the errors of an address range in a buffer, from an offset on.
			// Returns the number of records. In each record, Arg2 bytes precede address
			// and length.
			Method (RECS, 5, Serialized)
			{
				Local0 = 0		// index in the list
				Local1 = 0		// number of records
				Local2 = 0		// the last record: start and end
				Local3 = 0
				While (Local0 < NBAD)
				{
					Local4 = DerefOf (BADU [Local0])
					If (Arg3 <= Local4 && Local4 < Arg3 + Arg4)
					{
						If (Local4 != Local3)
						{
							Local2 = Local4
							Local1++
						}
						Local3 = Local4 + UNIT
						Local5 = Arg1 + (Local1 - 1) * (Arg2 + 16) + Arg2
						RECD (Arg0, Local5, Local2, Local3 - Local2)
					}
					Local0++
				}
				Return (Local1)
			}

			// 1: Query ARS Capabilities
			Method (QARS, 0, Serialized)
			{
				Name (B, Buffer (16) {})
				CreateWordField (B, 2, T)
				CreateDWordField (B, 4, M)
				CreateDWordField (B, 8, U)
				T = 2			// persistent memory
				M = 48 + ROOM * 24
				U = UNIT
				Return (B)
			}

			// 2: Start ARS. A scrub that only returns known errors (flag 2) takes no
			// time.
			Method (SARS, 1, Serialized)
			{
				Name (B, Buffer (8) {})
				CreateDWordField (B, 0, S)
				CreateDWordField (B, 4, E)
				CreateQWordField (Arg0, 0, A)
				CreateQWordField (Arg0, 8, L)
				CreateWordField (Arg0, 16, T)
				CreateByteField (Arg0, 18, F)
				If (Timer < ENDS)
				{
					S = 6		// busy
					Return (B)
				}
				BEGN = 1
				ENDS = Timer
				If (!(F & 2)) { ENDS += TAKE }
				E = TAKE / 10000000	// seconds
				SADR = A
				SLEN = L
				STYP = T
				Return (B)
			}

			// 3: Query ARS Status
			Method (GARS, 0, Serialized)
			{
				Name (B, Buffer (48 + NBAD * 24) {})
				CreateWordField (B, 2, S)
				CreateDWordField (B, 4, O)
				CreateQWordField (B, 8, A)
				CreateQWordField (B, 16, L)
				CreateWordField (B, 40, T)
				CreateDWordField (B, 44, N)
				O = 8
				If (!BEGN) { S = 2 }
				ElseIf (Timer < ENDS) { S = 1 }
				Else
				{
					A = SADR
					L = SLEN
					T = STYP
					N = RECS (B, 48, 8, SADR, SLEN)
					O = 48 + N * 24
				}
				Return (Mid (B, 0, O))
			}

			// 4: Clear Uncorrectable Error
			Method (CLRE, 1, Serialized)
			{
				Name (B, Buffer (16) {})
				CreateQWordField (Arg0, 0, A)
				CreateQWordField (Arg0, 8, L)
				CreateQWordField (B, 8, C)
				REMV (A, L)
				C = L
				Return (B)
			}

			// 7: ARS Error Inject
			Method (INJE, 1, Serialized)
			{
				Name (B, Buffer (4) {})
				CreateDWordField (B, 0, S)
				CreateQWordField (Arg0, 0, A)
				CreateQWordField (Arg0, 8, L)
				CreateByteField (Arg0, 16, O)
				If (ADDR (A, L)) { S = 2 }
				If (O & 1) { Notify (NVDR, 0x81) }
				Return (B)
			}

			// 8: ARS Error Inject Clear
			Method (INJC, 1, Serialized)
			{
				CreateQWordField (Arg0, 0, A)
				CreateQWordField (Arg0, 8, L)
				REMV (A, L)
				Return (Buffer (4) {})
			}

			// 9: ARS Error Inject Status Query
			Method (INJS, 0, Serialized)
			{
				Name (B, Buffer (8 + NBAD * 16) {})
				CreateDWordField (B, 4, N)
				N = RECS (B, 8, 0, 0, Ones)
				Return (Mid (B, 0, 8 + N * 16))
			}

			Method (_DSM, 4, Serialized)
			{
				If (Arg0 != ToUUID ("2f10e7a4-9e91-11e4-89d3-123b93f75cba"))
				{
					Return (Buffer (1) { 0 })
				}
				Switch (ToInteger (Arg2))
				{
					Case (0) { Return (Buffer (2) { 0x9f, 0x03 }) }
					Case (1) { Return (QARS ()) }
					Case (2) { Return (SARS (DerefOf (Arg3 [0]))) }
					Case (3) { Return (GARS ()) }
					Case (4) { Return (CLRE (DerefOf (Arg3 [0]))) }
					Case (7) { Return (INJE (DerefOf (Arg3 [0]))) }
					Case (8) { Return (INJC (DerefOf (Arg3 [0]))) }
					Case (9) { Return (INJS ()) }
				}
				Return (Buffer (4) { 1 })
			}

			Device (NV01)
			{
				Name (_ADR, 1)

				// Health, and the thresholds of its alarms. Temperatures are in
				// 1/16 of a degree.
				Name (MTMP, 480)
				Name (SPAR, 75)
				Name (FATL, 0)
				Name (DIRT, 0)
				Name (CTRL, 3)
				Name (TMPL, 640)
				Name (SPAL, 5)

				// 1: Get SMART and Health Info
				Method (SMRT, 0, Serialized)
				{
					Name (B, Buffer (132) {})
					CreateDWordField (B, 4, F)
					CreateByteField (B, 12, HL)
					CreateByteField (B, 13, SP)
					CreateByteField (B, 14, US)
					CreateByteField (B, 15, AL)
					CreateWordField (B, 16, MT)
					CreateByteField (B, 35, DS)
					F = 0x60f	// the fields below are valid
					HL = FATL << 2
					SP = SPAR
					US = 5
					If (SPAR < SPAL) { AL |= 1 }
					If (MTMP > TMPL) { AL |= 2 }
					AL &= CTRL
					MT = MTMP
					DS = DIRT
					Return (B)
				}

				// 2: Get SMART Threshold
				Method (GTHR, 0, Serialized)
				{
					Name (B, Buffer (12) {})
					CreateWordField (B, 4, C)
					CreateByteField (B, 6, SP)
					CreateWordField (B, 7, MT)
					C = CTRL
					SP = SPAL
					MT = TMPL
					Return (B)
				}

				// 17: Set SMART Threshold
				Method (STHR, 1, Serialized)
				{
					CreateWordField (Arg0, 0, C)
					CreateByteField (Arg0, 2, SP)
					CreateWordField (Arg0, 3, MT)
					CTRL = C
					SPAL = SP
					TMPL = MT
					Return (Buffer (4) {})
				}

				// 18: Inject Error. Resets the values that are not enabled.
				Method (INJE, 1, Serialized)
				{
					CreateQWordField (Arg0, 0, F)
					CreateByteField (Arg0, 8, TE)
					CreateWordField (Arg0, 9, MT)
					CreateByteField (Arg0, 11, SE)
					CreateByteField (Arg0, 12, SP)
					CreateByteField (Arg0, 13, FE)
					CreateByteField (Arg0, 14, DE)
					If (F & 1) { If (TE) { MTMP = MT } Else { MTMP = 480 } }
					If (F & 2) { If (SE) { SPAR = SP } Else { SPAR = 75 } }
					If (F & 4) { FATL = FE }
					If (F & 8) { DIRT = DE }
					Notify (NV01, 0x81)
					Return (Buffer (4) {})
				}

				Method (_DSM, 4, Serialized)
				{
					If (Arg0 != ToUUID ("4309ac30-0d11-11e4-9191-0800200c9a66"))
					{
						Return (Buffer (1) { 0 })
					}
					Switch (ToInteger (Arg2))
					{
						Case (0) { Return (Buffer (3) { 0x07, 0x00, 0x06 }) }
						Case (1) { Return (SMRT ()) }
						Case (2) { Return (GTHR ()) }
						Case (17) { Return (STHR (DerefOf (Arg3 [0]))) }
						Case (18) { Return (INJE (DerefOf (Arg3 [0]))) }
					}
					Return (Buffer (4) { 1 })
				}
			}
		}
	}
}
