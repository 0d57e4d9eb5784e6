import { Badge } from '@mantine/core'
import {
  IconAlertTriangle,
  IconBan,
  IconCheck,
  IconClock,
  IconLoader2,
  IconPlayerPlayFilled,
  IconPlayerStop,
} from '@tabler/icons-react'
import { useTranslation } from 'react-i18next'
import type { SessionStatus } from '../gql/graphql'
import { type Ended, outcome } from './outcome'

const LOOKS: Record<SessionStatus, [string, typeof IconClock]> = {
  PENDING: ['yellow', IconClock],
  SCHEDULED: ['blue', IconLoader2],
  PREPARING: ['blue', IconLoader2],
  PULLING: ['blue', IconLoader2],
  PREPARED: ['blue', IconLoader2],
  CREATING: ['blue', IconLoader2],
  RUNNING: ['teal', IconPlayerPlayFilled],
  TERMINATING: ['orange', IconPlayerStop],
  TERMINATED: ['gray', IconCheck],
  CANCELLED: ['gray', IconBan],
  ERROR: ['red', IconAlertTriangle],
}
const FAILED = ['orange', IconAlertTriangle] as const

/** A status as colour, icon and word: none of them alone. A session that ended because its program failed says so. */
export function StatusBadge({ session }: { session: Ended }) {
  const { t } = useTranslation()
  const failed = outcome(session) === 'failed'
  const [color, Icon] = failed ? FAILED : LOOKS[session.status]
  return (
    <Badge
      color={color}
      variant="light"
      leftSection={<Icon size={12} aria-hidden />}
      autoContrast
      tt="none"
      miw="max-content"
      fw={600}
    >
      {t(failed ? 'status.failed' : `status.${session.status}`)}
    </Badge>
  )
}
