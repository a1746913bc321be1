module causerie

go 1.19
