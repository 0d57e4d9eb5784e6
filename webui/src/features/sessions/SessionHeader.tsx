import { Button, Group, Text, Title } from '@mantine/core'
import { IconRefresh, IconTerminal2, IconTrash } from '@tabler/icons-react'
import { Link } from '@tanstack/react-router'
import { useTranslation } from 'react-i18next'
import { duration } from '../../shared/format'
import { StatusBadge } from '../../shared/StatusBadge'
import { elapsed, useNow } from '../../shared/useNow'
import type { DetailedSession } from './documents'

type Props = { session: DetailedSession; onTerminate: () => void }

/** What the session is, how it is, and what may be done with it. */
export function SessionHeader({ session, onTerminate }: Props) {
  const { t } = useTranslation()
  const now = useNow()
  return (
    <Group justify="space-between" align="flex-start">
      <div>
        <Group gap="sm">
          <Title order={1} size="h2">
            {session.name}
          </Title>
          <StatusBadge session={session} />
        </Group>
        <Text c="dimmed" size="sm">
          {session.image?.language} {session.image?.version} · <span className="mono">{session.id}</span>
          {session.startedAt ? ` · ${duration(elapsed(session, now))}` : ''}
        </Text>
      </div>
      <Group gap="sm">
        {session.allowedActions.includes('openTerminal') && (
          <Button
            component="a"
            href={`/sessions/${session.id}/terminal`}
            target="_blank"
            leftSection={<IconTerminal2 size={18} aria-hidden />}
          >
            {t('session.openTerminal')}
          </Button>
        )}
        {session.allowedActions.includes('terminateSessions') ? (
          <Button
            color="red"
            variant="light"
            leftSection={<IconTrash size={16} aria-hidden />}
            onClick={onTerminate}
          >
            {t('sessions.terminate')}
          </Button>
        ) : (
          <Button
            component={Link}
            to="/launch"
            search={{ from: session.id } as never}
            variant="light"
            leftSection={<IconRefresh size={16} aria-hidden />}
          >
            {t('session.again')}
          </Button>
        )}
      </Group>
    </Group>
  )
}
