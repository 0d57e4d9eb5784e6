import { Alert, Loader } from '@mantine/core'
import { IconWifi, IconWifiOff } from '@tabler/icons-react'
import { useTranslation } from 'react-i18next'
import { useConnection } from '../shared/connection'

/** Says that what is on the screen may be old, and when it is not any more. */
export function ConnectionBanner() {
  const { t } = useTranslation()
  const connection = useConnection()
  return (
    <div role="status" aria-live="polite">
      {(connection === 'lost' || connection === 'reconnecting') && (
        <Alert
          color="orange"
          mb="sm"
          icon={
            connection === 'lost' ? (
              <IconWifiOff size={18} aria-hidden />
            ) : (
              <Loader size={16} color="orange" aria-hidden />
            )
          }
        >
          {t('app.lost')}
        </Alert>
      )}
      {connection === 'back' && (
        <Alert color="teal" icon={<IconWifi size={18} aria-hidden />} mb="sm">
          {t('app.back')}
        </Alert>
      )}
    </div>
  )
}
