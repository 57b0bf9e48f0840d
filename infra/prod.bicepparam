using './main.bicep'

// What bills customers: three zones, a year to bring payloads back, storage and vault from inside only.
param environmentName = 'prod'
param clientId = readEnvironmentVariable('CSP_CLIENT_ID')
param dataverseUrl = readEnvironmentVariable('CSP_DATAVERSE_URL')
param archiveRedundancy = 'Standard_ZRS'
param undeleteDays = 365
param memoryMegabytes = 4096
param network = 'private'
param logRetentionDays = 180
param logDailyGigabytes = 10
