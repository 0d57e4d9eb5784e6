import { Alert } from '@mantine/core'
import { IconAlertTriangle, IconInfoCircle } from '@tabler/icons-react'
import { useTranslation } from 'react-i18next'
import type { SessionRowFragment } from '../../gql/graphql'
import { outcome } from '../../shared/outcome'

const COLORS = { error: 'red', failed: 'orange', done: 'gray' } as const

/** Why a session is over. */
export function OutcomeAlert({ session }: { session: SessionRowFragment }) {
  const { t } = useTranslation()
  const how = outcome(session)
  const reason = session.statusReason
  if (!how || !reason?.message) return null
  const Icon = how === 'done' ? IconInfoCircle : IconAlertTriangle
  return (
    <Alert
      color={COLORS[how]}
      icon={<Icon size={18} aria-hidden />}
      title={how === 'done' ? undefined : t(`session.${how}`)}
      role={how === 'done' ? 'note' : 'alert'}
    >
      {reason.message}
    </Alert>
  )
}
