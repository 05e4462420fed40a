"""SCSI: CDBs, parameter data and sense, as SPC, SBC, SSC and SMC lay them out."""
